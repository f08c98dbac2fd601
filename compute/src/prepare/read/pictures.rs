//! An archive of PNG and JPEG files: pictures of their own size, the folder that
//! each is in, and its path.

use embermesh_job::spec::prepare::schema::Kind;

use super::{Opened, Pieces, Rows, Visit};
use crate::dataset::folder::{archive, picture};
use crate::dataset::room::Room;
use crate::failure::WorkFailed;
use crate::prepare::column::Values;

struct Archive {
    bytes: Vec<u8>,
    columns: Vec<(String, Kind)>,
}

/// Opens an archive.
pub(super) fn open(bytes: Vec<u8>, file: &'static str) -> Opened {
    let columns = [
        ("image", Kind::Pictures { channels: 3 }),
        ("label", Kind::Text),
        ("path", Kind::Text),
    ];
    let columns = columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
    Opened {
        file,
        columns: columns.clone(),
        count: None,
        remarks: Vec::new(),
        rows: Box::new(Archive { bytes, columns }),
    }
}

impl Rows for Archive {
    fn each(&self, file: &str, room: &mut Room, visit: Visit<'_>) -> Result<(), WorkFailed> {
        let mut pieces = Pieces::new(&self.columns);
        let mut row = 0;
        archive::each::<WorkFailed>(&self.bytes, file, room, &mut |path, bytes, room| {
            let name = format!("{file}: {path}");
            let mut planes = Vec::new();
            let size = picture::planes(bytes, &name, room, &mut planes)?;
            row += 1;
            for (at, column) in pieces.piece.columns.iter_mut().enumerate() {
                match (&mut column.values, at) {
                    (Values::Pictures(pictures), _) => {
                        pictures.push(size, &planes, room, file)?;
                    }
                    (_, 1) => column.push_text(path.rsplit('/').nth(1), room, file)?,
                    _ => column.push_text(Some(path), room, file)?,
                }
            }
            room.give(planes.capacity() as u64);
            drop(planes);
            pieces.end_row(row, file, room, visit)
        })?;
        pieces.end(room, visit)
    }
}

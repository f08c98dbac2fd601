use std::io::{Cursor, Write};

use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use zip::write::SimpleFileOptions;

use super::*;
use crate::dataset::table::tests::truncated;
use crate::dataset::unpack::gzip;

fn spec(json: &str) -> Images<u32> {
    serde_json::from_str(&format!("{{\"archive\":1{json}}}")).unwrap()
}

const CLASSES: &str = r#","classes":["black","white"]"#;

fn read(bytes: &[u8], json: &str, shape: [usize; 3]) -> Result<Set, InvalidData> {
    parse(
        bytes,
        &spec(json),
        shape,
        "data.images.archive",
        &mut Room::new(4 << 20),
    )
}

fn grey(side: u32, level: u8, format: ImageFormat) -> Vec<u8> {
    let mut to = Cursor::new(Vec::new());
    GrayImage::from_pixel(side, side, Luma([level]))
        .write_to(&mut to, format)
        .unwrap();
    to.into_inner()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut to = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        to.append_data(&mut header, name, *bytes).unwrap();
    }
    to.into_inner().unwrap()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut to = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        to.start_file(*name, SimpleFileOptions::default()).unwrap();
        to.write_all(bytes).unwrap();
    }
    to.finish().unwrap().into_inner()
}

#[test]
fn folders_are_classes_in_every_kind_of_archive() {
    let white = grey(20, 255, ImageFormat::Png);
    let black = grey(5, 0, ImageFormat::Jpeg);
    let files = [
        ("set/white/1.png", &white[..]),
        ("set/black/a.JPG", &black[..]),
        ("set/.DS_Store", &b"?"[..]),
        ("__MACOSX/set/white/1.png", &b"?"[..]),
    ];
    for bytes in [tar(&files), gzip(&tar(&files)), zip(&files)] {
        let set = read(&bytes, CLASSES, [1, 2, 2]).unwrap();
        let batch = set.batch(&[0, 1]).unwrap();
        assert_eq!(batch.pixels, [1., 1., 1., 1., 0., 0., 0., 0.]);
        assert_eq!(batch.targets, Targets::Classes(vec![1, 0]));
        let set = read(&bytes, "", [3, 1, 1]).unwrap();
        assert_eq!(set.batch(&[0]).unwrap().targets, Targets::Absent(1));
    }
}

#[test]
fn colours_become_planes() {
    let mut to = Cursor::new(Vec::new());
    RgbImage::from_fn(2, 1, |x, _| Rgb([255, x as u8 * 255, 0]))
        .write_to(&mut to, ImageFormat::Png)
        .unwrap();
    let bytes = tar(&[("x.png", &to.into_inner())]);
    let set = read(&bytes, "", [3, 1, 2]).unwrap();
    assert_eq!(set.batch(&[0]).unwrap().pixels, [1., 1., 0., 1., 0., 0.]);
}

#[test]
fn a_bad_file_is_named_by_its_path() {
    let white = grey(4, 255, ImageFormat::Png);
    for (files, expected) in [
        (
            vec![("a/1.png", &white[..])],
            "data.images.archive: a/1.png: found the folder \"a\", expected one of the classes \"black\"",
        ),
        (
            vec![("white/1.txt", &white[..])],
            "white/1.txt: found a file of another kind",
        ),
        (
            vec![("white/1.png", &white[..40])],
            "white/1.png: found an image that cannot be read",
        ),
        (
            vec![("white/1.png", &b"GIF89a"[..])],
            "white/1.png: found another beginning",
        ),
        (vec![], "found no images"),
    ] {
        let said = read(&tar(&files), CLASSES, [1, 2, 2])
            .unwrap_err()
            .to_string();
        assert!(said.contains(expected), "{said}");
    }
    assert!(read(b"what is this", CLASSES, [1, 2, 2]).is_err());
}

#[test]
fn an_image_that_claims_to_be_huge_is_refused_by_its_header() {
    // The header of a PNG of 60,000 by 60,000, and of one that is only too large
    // for the memory there is.
    let mut png = grey(4, 255, ImageFormat::Png);
    for (side, expected) in [(60_000_u32, "cannot be read"), (10_000, "bytes where")] {
        png[16..20].copy_from_slice(&side.to_be_bytes());
        png[20..24].copy_from_slice(&side.to_be_bytes());
        let mut hash = flate2::Crc::new();
        hash.update(&png[12..29]);
        png[29..33].copy_from_slice(&hash.sum().to_be_bytes());
        let said = read(&tar(&[("white/1.png", &png)]), CLASSES, [1, 2, 2])
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("white/1.png") && said.contains(expected),
            "{said}"
        );
    }
}

#[test]
fn archives_that_explode_are_refused_while_they_unpack() {
    let zeros = vec![0; 64 << 20];
    let bomb = tar(&[("white/1.png", &zeros)]);
    let packed = gzip(&bomb);
    assert!(packed.len() < 1 << 17);
    read(&packed, CLASSES, [1, 2, 2]).unwrap_err();
    let zipped = zip(&[("white/1.png", &zeros)]);
    assert!(matches!(
        read(&zipped, CLASSES, [1, 2, 2]),
        Err(InvalidData::NoRoom { .. })
    ));
    // A name that goes on for ever.
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(zeros.len() as u64);
    header.set_cksum();
    let named = [header.as_bytes(), &zeros[..]].concat();
    let said = read(&gzip(&named), CLASSES, [1, 2, 2])
        .unwrap_err()
        .to_string();
    assert!(said.contains("more than limits.memory"), "{said}");
}

#[test]
fn no_cut_makes_it_panic() {
    let white = grey(4, 255, ImageFormat::Png);
    let tall = grey(9, 0, ImageFormat::Jpeg);
    let files = [("white/1.png", &white[..]), ("black/2.jpg", &tall[..])];
    let whole = tar(&files);
    // What follows the last file is padding.
    for bytes in [&whole[..whole.len() - 1024], &zip(&files)] {
        truncated(bytes, "data.images.archive", |bytes, room| {
            parse(
                bytes,
                &spec(CLASSES),
                [1, 3, 3],
                "data.images.archive",
                room,
            )
        });
    }
}

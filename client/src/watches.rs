//! The connections to one index, and the watches that they carry.
//!
//! A connection has a bound on its open streams, and a call that comes when they are all
//! taken waits for one of them to end. A watch ends with its job, so watches leave room for
//! calls, and those of many jobs have connections of their own.

use std::sync::Arc;

use embermesh_proto::v1;
use tonic::{Status, Streaming, transport::Channel};

use crate::bounds::WATCHES_OF_LINE;

/// Connections that stood when they were last used.
#[derive(Default)]
pub(crate) struct Lines(Vec<Line>);

struct Line {
    channel: Channel,
    /// Held by each watch that it carries.
    watches: Arc<()>,
}

impl Line {
    fn seat(&self) -> Seat {
        Seat {
            channel: self.channel.clone(),
            _watches: Arc::clone(&self.watches),
        }
    }

    fn open(&self) -> usize {
        Arc::strong_count(&self.watches) - 1
    }
}

impl Lines {
    /// The one that calls go by.
    pub(crate) fn first(&self) -> Option<Channel> {
        self.0.first().map(|line| line.channel.clone())
    }

    /// Room for a watch on a line that has some.
    pub(crate) fn seat(&self) -> Option<Seat> {
        let line = self.0.iter().find(|line| line.open() < WATCHES_OF_LINE)?;
        Some(line.seat())
    }

    /// A further line, and room on it. Those that carry nothing any more go first.
    pub(crate) fn add(&mut self, channel: Channel) -> Seat {
        let mut is_first = true;
        self.0
            .retain(|line| std::mem::take(&mut is_first) || line.open() > 0);
        let line = Line {
            channel,
            watches: Arc::default(),
        };
        let seat = line.seat();
        self.0.push(line);
        seat
    }

    /// One of them was lost, so none is believed in. Watches that still stand go on.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// A watch's room on a line, as long as it lives.
pub(crate) struct Seat {
    channel: Channel,
    _watches: Arc<()>,
}

impl Seat {
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

/// A job that is watched.
pub(crate) struct Watch {
    stream: Streaming<v1::WatchJobResponse>,
    _seat: Seat,
}

impl Watch {
    pub(crate) fn new(stream: Streaming<v1::WatchJobResponse>, seat: Seat) -> Self {
        Self {
            stream,
            _seat: seat,
        }
    }

    /// The next word of the index.
    ///
    /// # Errors
    /// What it answers, or that it was lost.
    pub(crate) async fn message(&mut self) -> Result<Option<v1::WatchJobResponse>, Status> {
        self.stream.message().await
    }
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    fn channel() -> Channel {
        Endpoint::from_static("http://127.0.0.1:1").connect_lazy()
    }

    #[tokio::test]
    async fn a_line_leaves_room_for_calls_and_one_that_is_empty_is_let_go() {
        let mut lines = Lines::default();
        assert!(lines.seat().is_none() && lines.first().is_none());
        let mut seats = vec![lines.add(channel())];
        while let Some(seat) = lines.seat() {
            seats.push(seat);
        }
        assert_eq!(seats.len(), WATCHES_OF_LINE);

        // A watch that ends makes room for another.
        seats.pop();
        seats.push(lines.seat().unwrap());
        assert!(lines.seat().is_none());

        // A second line is used up likewise, and goes when all of it has ended.
        let second = lines.add(channel());
        assert_eq!(lines.0.len(), 2);
        drop(second);
        let third = lines.add(channel());
        assert_eq!(lines.0.len(), 2);
        drop(third);
        lines.clear();
        assert!(lines.first().is_none());
    }
}

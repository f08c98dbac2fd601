//! What was found, and what to do about it.

/// What is looked at, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Settings, keys, the data folder.
    Identity,
    /// What the node is to listen on.
    Ports,
    /// Where this machine is reached.
    Addresses,
    /// What is between it and the internet.
    Nat,
    /// Who carries for it.
    Relays,
    /// What time it is.
    Clock,
    /// What computes, and the fences around it.
    Devices,
    /// The indexes.
    Index,
    /// The mesh.
    Peers,
}

impl Part {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 9] = [
        Self::Identity,
        Self::Ports,
        Self::Addresses,
        Self::Nat,
        Self::Relays,
        Self::Clock,
        Self::Devices,
        Self::Index,
        Self::Peers,
    ];

    /// A stable word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Ports => "ports",
            Self::Addresses => "addresses",
            Self::Nat => "nat",
            Self::Relays => "relays",
            Self::Clock => "clock",
            Self::Devices => "devices",
            Self::Index => "index",
            Self::Peers => "peers",
        }
    }
}

/// How it stands with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is broken.
    Note,
    /// It could not be found out, and why.
    Unknown,
    /// Something does not work as it should.
    Trouble,
}

impl State {
    /// A stable word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Trouble => "trouble",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) part: Part,
    pub(crate) state: State,
    /// A stable word for a trouble; empty for the rest.
    pub(crate) code: &'static str,
    /// What was found.
    pub(crate) text: String,
    /// What to type or to change. Every trouble has one.
    pub(crate) cure: Option<String>,
}

impl Finding {
    fn new(part: Part, state: State, text: impl Into<String>) -> Self {
        Self {
            part,
            state,
            code: "",
            text: text.into(),
            cure: None,
        }
    }

    /// As it should be.
    pub(crate) fn ok(part: Part, text: impl Into<String>) -> Self {
        Self::new(part, State::Ok, text)
    }

    /// Worth knowing.
    pub(crate) fn note(part: Part, text: impl Into<String>) -> Self {
        Self::new(part, State::Note, text)
    }

    /// Not found out.
    pub(crate) fn unknown(part: Part, text: impl Into<String>) -> Self {
        Self::new(part, State::Unknown, text)
    }

    /// A trouble, and its cure.
    pub(crate) fn trouble(
        part: Part,
        code: &'static str,
        text: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            code,
            cure: Some(cure.into()),
            ..Self::new(part, State::Trouble, text)
        }
    }

    /// The same with advice.
    pub(crate) fn with(self, cure: impl Into<String>) -> Self {
        Self {
            cure: Some(cure.into()),
            ..self
        }
    }
}

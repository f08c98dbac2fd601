//! What must hold of an advert before the registry believes it.

use embermesh_crypto::{
    statement::{Advert, Role, Signed},
    time::UnixMillis,
};

use super::{Refused, Settings, settings::CLOCK_SKEW};

/// Opens an advert and checks that it is a node's, of this network, and not over.
pub(super) fn check(
    advert: &Signed<Advert>,
    settings: &Settings,
    now: UnixMillis,
) -> Result<Advert, Refused> {
    let content = advert.open()?;
    if content.network != settings.network {
        return Err(Refused::Advert {
            why: format!(
                "it is for the network {}, and this index serves {}",
                content.network, settings.network
            ),
        });
    }
    if content.role != Role::Node {
        return Err(Refused::Advert {
            why: "it is not a node's".to_owned(),
        });
    }
    if content.expires_at.saturating_add(CLOCK_SKEW) <= now {
        return Err(Refused::Advert {
            why: "it has expired; check the node's clock".to_owned(),
        });
    }
    Ok((*content).clone())
}

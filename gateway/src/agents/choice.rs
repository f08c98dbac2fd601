//! Which agent an ask is sent to.
//!
//! The weights are TitanCompute's own: 0.4 for free memory, 0.3 for free places, 0.2 for
//! a short way, 0.1 for speed, of which nothing is known here.

use embermesh_dialects::port::agents::{AgentHealth, AgentOffer, AgentView, Standing};

/// Load, in percent, above which an agent has too much to do.
const BUSY: f64 = 90.0;
/// The longest way that counts, in milliseconds.
const FAR_MS: f64 = 500.0;
/// Places of an agent that does not say how many it has.
const PLACES: u32 = 1;

/// Whether an agent can be sent anybody. One without a graphics card answers on its
/// processors, and has no memory of one to run out of.
pub(super) fn standing(offer: &AgentOffer, health: Option<&AgentHealth>, silent: bool) -> Standing {
    if silent {
        return Standing::Offline;
    }
    let Some(health) = health else {
        // It has joined and said no more: that is a sign of life too.
        return Standing::Healthy;
    };
    let full = offer.vram_mb > 0 && free(offer, health) < 1.0 - BUSY / 100.0;
    if full || health.cpu_percent > BUSY {
        return Standing::Degraded;
    }
    Standing::Healthy
}

/// The part of its memory that is free.
#[allow(clippy::cast_precision_loss, reason = "a share")]
fn free(offer: &AgentOffer, health: &AgentHealth) -> f64 {
    let (free, all) = if offer.vram_mb > 0 {
        (health.free_vram_mb, offer.vram_mb)
    } else {
        (health.free_ram_mb, offer.ram_mb)
    };
    if all == 0 {
        return 0.0;
    }
    (free as f64 / all as f64).min(1.0)
}

fn score(agent: &AgentView) -> f64 {
    let places = agent.offer.most_jobs.max(PLACES);
    let taken = f64::from(agent.health.running.min(places)) / f64::from(places);
    let way = (agent.health.rtt_ms.max(0.0) / FAR_MS).min(1.0);
    0.4 * free(&agent.offer, &agent.health) + 0.3 * (1.0 - taken) + 0.2 * (1.0 - way)
}

/// The healthy agent with the model and a free place that has the best score; of equal
/// ones the first by id.
pub(super) fn choose(agents: Vec<AgentView>, model: &str) -> Option<AgentView> {
    let mut best: Option<(f64, AgentView)> = None;
    for agent in agents {
        let fits = agent.standing == Standing::Healthy
            && agent.health.running < agent.offer.most_jobs.max(PLACES)
            && agent.offer.models.iter().any(|name| name == model);
        if !fits {
            continue;
        }
        let score = score(&agent);
        if best.as_ref().is_none_or(|(most, _)| score > *most) {
            best = Some((score, agent));
        }
    }
    best.map(|(_, agent)| agent)
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::UnixMillis;

    use super::*;

    fn agent(id: &str, free_vram_mb: u64, running: u32) -> AgentView {
        let offer = AgentOffer {
            id: id.to_owned(),
            endpoint: "a:1".to_owned(),
            vram_mb: 1000,
            ram_mb: 4000,
            most_jobs: 4,
            models: vec!["llama".to_owned()],
        };
        let health = AgentHealth {
            free_vram_mb,
            running,
            ..AgentHealth::default()
        };
        AgentView {
            standing: standing(&offer, Some(&health), false),
            offer,
            health,
            heard_at: UnixMillis(1),
        }
    }

    fn chosen(agents: Vec<AgentView>) -> Option<String> {
        choose(agents, "llama").map(|agent| agent.offer.id)
    }

    #[test]
    fn the_freest_that_has_the_model_and_a_place_is_chosen() {
        let all = || vec![agent("a", 500, 2), agent("b", 900, 0), agent("c", 900, 0)];
        assert_eq!(chosen(all()).as_deref(), Some("b"));
        assert_eq!(choose(all(), "other"), None);
        assert_eq!(chosen(vec![agent("full", 900, 4)]), None);
        let mut far = all();
        far[1].health.rtt_ms = 600.0;
        assert_eq!(chosen(far).as_deref(), Some("c"));
        // Out of memory, out of breath, out of sight.
        assert_eq!(agent("x", 50, 0).standing, Standing::Degraded);
        let busy = AgentHealth {
            cpu_percent: 95.0,
            ..AgentHealth::default()
        };
        let mut none = agent("y", 0, 0).offer;
        none.vram_mb = 0;
        assert_eq!(standing(&none, Some(&busy), false), Standing::Degraded);
        assert_eq!(standing(&none, None, true), Standing::Offline);
    }

    #[test]
    fn an_agent_without_a_graphics_card_is_as_good_as_its_memory() {
        let mut offer = agent("z", 0, 0).offer;
        offer.vram_mb = 0;
        let health = AgentHealth {
            free_ram_mb: 3000,
            ..AgentHealth::default()
        };
        assert_eq!(standing(&offer, Some(&health), false), Standing::Healthy);
        assert!((free(&offer, &health) - 0.75).abs() < 1e-12);
    }
}

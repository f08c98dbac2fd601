//! The made-up networks of the benchmarks.

use embermesh_simulations::lab::{Host, Lab, LinkConfig, Plan, Site, room::NoRoom};

/// The host that sends.
pub(crate) const SERVER: usize = 0;
/// The host that receives.
pub(crate) const CLIENT: usize = 1;

/// Whether this process may make networks up; says why not.
pub(crate) fn allowed() -> bool {
    match Lab::open(&Plan::default()).and_then(|_| try_unbounded()) {
        Ok(_) => true,
        Err(error @ (NoRoom::Refused(_) | NoRoom::NoIp(_))) => {
            println!("skipped: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Two hosts whose link takes half the round trip each way and passes so many bits a
/// second.
pub(crate) fn link(round_trip_ms: u64, rate_bits: u64) -> Lab {
    let (there, back) = (round_trip_ms / 2, round_trip_ms - round_trip_ms / 2);
    let mut server = Host::new([5, 0, 0, 1], LinkConfig::default());
    server.up = LinkConfig::delay(there).with_rate(rate_bits);
    server.down = LinkConfig::delay(back).with_rate(rate_bits);
    open(vec![server, Host::new([5, 0, 0, 2], LinkConfig::default())]).unwrap()
}

/// Two hosts with nothing between them but the emulator.
pub(crate) fn unbounded() -> Lab {
    try_unbounded().unwrap()
}

fn try_unbounded() -> Result<Lab, NoRoom> {
    open(vec![
        Host::new([5, 0, 0, 1], LinkConfig::default()),
        Host::new([5, 0, 0, 2], LinkConfig::default()),
    ])
}

/// A site for each host.
pub(crate) fn open(hosts: Vec<Host>) -> Result<Lab, NoRoom> {
    let sites = hosts.into_iter().map(|host| Site {
        nat: None,
        firewall: false,
        udp: true,
        hosts: vec![host],
    });
    Lab::open(&Plan {
        seed: 1,
        sites: sites.collect(),
    })
}

/// Runs something in a room to its end.
pub(crate) fn in_room<T: Send + 'static>(
    lab: &Lab,
    room: usize,
    task: impl Future<Output = T> + Send + 'static,
) -> T {
    let task = lab.room(room).spawn(task);
    futures::executor::block_on(task).unwrap()
}

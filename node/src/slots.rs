//! The devices of this node and their slots: who may have one now.
//!
//! A slot is taken before an attempt is admitted, so that "busy" never uses an
//! assignment up, and comes back when its [`Slot`] is dropped, however the attempt
//! ended.

use std::sync::{Arc, Mutex, PoisonError};

use embermesh_compute::{device::DeviceChoice, probe::DeviceReport};
use embermesh_crypto::statement::{DeviceAdvert, DeviceKind, Runtime, Runtimes};
use embermesh_job::{
    spec::{Limits, Requirements},
    units::Bytes,
};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    probe::Probed,
    runtimes::{RuntimeStandings, Standing},
    worker::{Nursery, Spawner, Warm, Worker, WorkerCommand, WorkerLost},
};

/// Bytes of a device's name that an advert shows.
const MAX_NAME: usize = 64;

/// Why no slot can be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NoSlot {
    /// The node is about to stop.
    #[error("this node is about to stop and takes no new jobs: ask another")]
    Draining,
    /// No device of the kind works.
    #[error("this node has no working {}: ask a node that has one", wants.map_or("device", DeviceKind::as_str))]
    NoDevice {
        /// The kind, where one is asked for.
        wants: Option<DeviceKind>,
    },
    /// The devices are too small.
    #[error(
        "this node gives a job {has} of memory at most and this one needs {needs}: ask a larger one, or lower `limits.memory`"
    )]
    TooLittleMemory {
        /// The most it gives.
        has: Bytes,
        /// What is needed.
        needs: Bytes,
    },
    /// The owner does not let such programs run.
    #[error(
        "this node runs no {wants} programs, because its owner has not allowed them: ask another"
    )]
    RuntimeOff {
        /// The runtime that is asked for.
        wants: Runtime,
    },
    /// They are allowed and do not work.
    #[error("this node cannot run {wants} programs: {fault}; ask another")]
    RuntimeFault {
        /// The runtime that is asked for.
        wants: Runtime,
        /// Why it does not work.
        fault: String,
    },
    /// Every slot is taken.
    #[error("every slot of this node is taken: try again later, or ask another")]
    Busy,
}

impl NoSlot {
    /// A stable word.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::NoDevice { .. } => "no_device",
            Self::TooLittleMemory { .. } => "too_little_memory",
            Self::RuntimeOff { .. } | Self::RuntimeFault { .. } => "no_runtime",
            Self::Busy => "busy",
        }
    }
}

struct Device {
    choice: DeviceChoice,
    report: Result<DeviceReport, String>,
    taken: u32,
    wanted: watch::Sender<bool>,
    warm: Warm,
}

/// A device as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct DeviceState {
    pub(crate) advert: DeviceAdvert,
    pub(crate) taken: u32,
}

/// What is free, for adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Occupancy {
    pub(crate) slots: u32,
    pub(crate) free: u32,
    pub(crate) draining: bool,
}

/// Every slot of this node. Clones are the same.
#[derive(Clone)]
pub(crate) struct Slots {
    inner: Arc<Inner>,
}

struct Inner {
    devices: Mutex<Vec<Device>>,
    per_device: u32,
    /// The most memory of one job, in bytes.
    memory: u64,
    runtimes: RuntimeStandings,
    occupancy: watch::Sender<Occupancy>,
}

/// What each device's actor is made of.
pub(crate) struct Workers {
    pub(crate) spawner: Spawner,
    pub(crate) command: Arc<WorkerCommand>,
    pub(crate) cancel: CancellationToken,
}

impl Slots {
    /// Slots on the devices that work, and the actors that keep a worker ready on
    /// each, to be spawned.
    pub(crate) fn new(
        probed: Vec<Probed>,
        per_device: u32,
        memory: u64,
        runtimes: RuntimeStandings,
        workers: &Workers,
    ) -> (Self, Vec<impl Future<Output = ()> + Send + use<>>) {
        let mut actors = Vec::new();
        let mut devices = Vec::new();
        for Probed { device, report } in probed {
            let (wanted, wanted_receiver) = watch::channel(report.is_ok());
            let (warm, actor) = Warm::new(Nursery {
                spawner: workers.spawner.clone(),
                command: Arc::clone(&workers.command),
                device,
                wanted: wanted_receiver,
                cancel: workers.cancel.clone(),
            });
            actors.push(actor);
            devices.push(Device {
                choice: device,
                report,
                taken: 0,
                wanted,
                warm,
            });
        }
        let slots = per_device * devices.iter().filter(|d| d.report.is_ok()).count() as u32;
        let (occupancy, _) = watch::channel(Occupancy {
            slots,
            free: slots,
            draining: false,
        });
        let inner = Arc::new(Inner {
            devices: Mutex::new(devices),
            per_device,
            memory,
            runtimes,
            occupancy,
        });
        (Self { inner }, actors)
    }

    /// Takes a slot on the fastest free device that fits. `runtime` is what the work
    /// needs beside a device.
    pub(crate) fn take(
        &self,
        requires: &Requirements,
        limits: &Limits,
        runtime: Option<Runtime>,
    ) -> Result<Slot, NoSlot> {
        if self.inner.occupancy.borrow().draining {
            return Err(NoSlot::Draining);
        }
        if let Some(wants) = runtime {
            match self.inner.runtimes.of(wants) {
                Standing::Works => {}
                Standing::Off => return Err(NoSlot::RuntimeOff { wants }),
                Standing::Fault(fault) => {
                    let fault = fault.clone();
                    return Err(NoSlot::RuntimeFault { wants, fault });
                }
            }
        }
        let needs = Bytes(limits.memory.0.max(requires.min_memory.0));
        if needs.0 > self.inner.memory {
            return Err(NoSlot::TooLittleMemory {
                has: Bytes(self.inner.memory),
                needs,
            });
        }
        let mut devices = self.devices();
        let wants = requires.device;
        let fits = |device: &&mut Device| {
            device
                .report
                .as_ref()
                .is_ok_and(|report| wants.is_none_or(|kind| kind == report.kind))
        };
        let mut fitting: Vec<&mut Device> = devices.iter_mut().filter(fits).collect();
        if fitting.is_empty() {
            return Err(NoSlot::NoDevice { wants });
        }
        fitting.retain(|device| device.taken < self.inner.per_device);
        let speed = |device: &&mut Device| device.report.as_ref().map_or(0, |report| report.mflops);
        let Some(device) = fitting.into_iter().max_by_key(speed) else {
            return Err(NoSlot::Busy);
        };
        device.taken += 1;
        device
            .wanted
            .send_replace(device.taken < self.inner.per_device);
        let slot = Slot {
            device: device.choice,
            kind: device.choice.kind(),
            warm: device.warm.clone(),
            slots: self.clone(),
        };
        self.publish(&devices);
        Ok(slot)
    }

    /// Which programs of clients run here.
    pub(crate) fn runtimes(&self) -> Runtimes {
        self.inner.runtimes.offered()
    }

    /// Takes nothing more on.
    pub(crate) fn drain(&self) {
        for device in self.devices().iter() {
            device.wanted.send_replace(false);
        }
        self.inner.occupancy.send_modify(|now| {
            now.draining = true;
            now.free = 0;
        });
    }

    /// What is free, now and as it changes.
    pub(crate) fn occupancy(&self) -> watch::Receiver<Occupancy> {
        self.inner.occupancy.subscribe()
    }

    /// Every device.
    pub(crate) fn devices_now(&self) -> Vec<DeviceState> {
        let memory = self.inner.memory;
        self.devices()
            .iter()
            .map(|device| DeviceState {
                advert: advert(device, memory),
                taken: device.taken,
            })
            .collect()
    }

    fn give_back(&self, choice: DeviceChoice) {
        let draining = self.inner.occupancy.borrow().draining;
        let mut devices = self.devices();
        if let Some(device) = devices.iter_mut().find(|device| device.choice == choice) {
            device.taken = device.taken.saturating_sub(1);
            device.wanted.send_replace(!draining);
        }
        self.publish(&devices);
    }

    fn publish(&self, devices: &[Device]) {
        let taken: u32 = devices.iter().map(|device| device.taken).sum();
        self.inner.occupancy.send_modify(|now| {
            now.free = if now.draining {
                0
            } else {
                now.slots.saturating_sub(taken)
            };
        });
    }

    fn devices(&self) -> std::sync::MutexGuard<'_, Vec<Device>> {
        self.inner
            .devices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn advert(device: &Device, memory: u64) -> DeviceAdvert {
    let short = |text: &str| {
        let mut text = text.to_owned();
        text.truncate(text.floor_char_boundary(MAX_NAME));
        text
    };
    match &device.report {
        Ok(report) => DeviceAdvert {
            name: short(&report.name),
            kind: report.kind,
            // A driver that does not say how much it has gets the benefit of the
            // doubt; what a job may take is bounded by its limits either way.
            memory_bytes: match report.memory_bytes {
                0 => memory,
                has if device.choice == DeviceChoice::Cpu => has.min(memory),
                has => has,
            },
            mflops: report.mflops,
            fault: None,
        },
        Err(fault) => DeviceAdvert {
            name: device.choice.to_string(),
            kind: device.choice.kind(),
            memory_bytes: 0,
            mflops: 0,
            fault: Some(fault.clone()),
        },
    }
}

/// A slot of a device, taken until it is dropped.
pub(crate) struct Slot {
    device: DeviceChoice,
    kind: DeviceKind,
    warm: Warm,
    slots: Slots,
}

impl Slot {
    pub(crate) const fn device(&self) -> DeviceChoice {
        self.device
    }

    pub(crate) const fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// A worker on the slot's device.
    pub(crate) async fn worker(&self) -> Result<Worker, WorkerLost> {
        self.warm.take().await
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_back(self.device);
    }
}

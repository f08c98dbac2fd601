//! The devices of this node and their slots: who may have one now.
//!
//! A slot is taken before an attempt is admitted, so that "busy" uses no assignment up
//! but an index's that is told of it, and comes back when its [`Slot`] is dropped,
//! however the attempt ended.
//!
//! A resident model takes no slot but a place of its own, of which there are as many
//! as the owner allows: it stays for long and computes only while it is asked. What
//! the two share is memory. The node has as much as its slots may use together; what
//! residents were given is no longer there for tasks, nor the other way round. While
//! a model is resident the node counts a slot more, taken by it, so that whoever
//! counts tasks against slots comes out right.

mod refused;

use std::sync::{Arc, Mutex, PoisonError};

use embermesh_compute::{device::DeviceChoice, probe::DeviceReport};
use embermesh_crypto::statement::{DeviceAdvert, DeviceKind, Runtime, Runtimes};
use embermesh_job::{
    place::Takes,
    spec::{Limits, Requirements},
    units::Bytes,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use self::refused::NoSlot;
use crate::{
    probe::Probed,
    runtimes::{RuntimeStandings, Standing},
    worker::{Nursery, Spawner, Warm, Worker, WorkerCommand, WorkerLost},
};

/// Bytes of a device's name that an advert shows.
const MAX_NAME: usize = 64;

struct Device {
    choice: DeviceChoice,
    report: Result<DeviceReport, String>,
    taken: u32,
    wanted: watch::Sender<bool>,
    warm: Warm,
}

impl Device {
    /// Whether it works and is of the kind that is asked for.
    fn fits(&self, requires: &Requirements) -> bool {
        let wants = requires.device;
        let report = self.report.as_ref();
        report.is_ok_and(|report| wants.is_none_or(|kind| kind == report.kind))
    }
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
    /// Resident models that it would take.
    pub(crate) free_residents: u32,
    /// Bytes that the next task may have at most.
    pub(crate) memory: u64,
    pub(crate) draining: bool,
}

/// Every slot of this node. Clones are the same.
#[derive(Clone)]
pub(crate) struct Slots {
    inner: Arc<Inner>,
}

/// What is taken now.
struct Taken {
    devices: Vec<Device>,
    residents: u32,
    /// Bytes that residents were given.
    resident_bytes: u64,
    /// Bytes that tasks in slots were given.
    task_bytes: u64,
}

struct Inner {
    taken: Mutex<Taken>,
    per_device: u32,
    /// Slots of all devices that work.
    slots: u32,
    residents: u32,
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
        residents: u32,
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
            free_residents: residents,
            memory,
            draining: false,
        });
        let inner = Arc::new(Inner {
            taken: Mutex::new(Taken {
                devices,
                residents: 0,
                resident_bytes: 0,
                task_bytes: 0,
            }),
            per_device,
            slots,
            residents,
            memory,
            runtimes,
            occupancy,
        });
        (Self { inner }, actors)
    }

    /// Takes a slot, or a place for a resident model, on the fastest free device that
    /// fits. `runtime` is what the work needs beside a device.
    pub(crate) fn take(
        &self,
        takes: Takes,
        requires: &Requirements,
        limits: &Limits,
        runtime: Option<Runtime>,
    ) -> Result<Slot, NoSlot> {
        let mut taken = self.taken();
        self.must_fit(&taken, takes, requires, limits, runtime)?;
        let resident = takes == Takes::Residence;
        let fitting = taken.devices.iter_mut().filter(|device| {
            device.fits(requires) && (resident || device.taken < self.inner.per_device)
        });
        let speed = |device: &&mut Device| device.report.as_ref().map_or(0, |report| report.mflops);
        let device = fitting.max_by_key(speed).ok_or(NoSlot::Busy)?;
        let (choice, warm) = (device.choice, device.warm.clone());
        if !resident {
            device.taken += 1;
            device
                .wanted
                .send_replace(device.taken < self.inner.per_device);
        }
        let bytes = limits.memory.0;
        let slot = Slot {
            device: choice,
            kind: choice.kind(),
            warm,
            takes,
            bytes,
            slots: self.clone(),
        };
        if resident {
            taken.residents += 1;
            taken.resident_bytes = taken.resident_bytes.saturating_add(bytes);
        } else {
            taken.task_bytes = taken.task_bytes.saturating_add(bytes);
        }
        self.publish(&taken);
        Ok(slot)
    }

    /// How many tasks of a kind would fit now, at least one, as far as slots and places
    /// go.
    pub(crate) fn room(
        &self,
        takes: Takes,
        requires: &Requirements,
        limits: &Limits,
        runtime: Option<Runtime>,
    ) -> Result<u32, NoSlot> {
        let taken = self.taken();
        self.must_fit(&taken, takes, requires, limits, runtime)?;
        Ok(match takes {
            Takes::Residence => self.inner.residents.saturating_sub(taken.residents),
            Takes::Slot => self.free_slots(&taken, requires),
        })
    }

    /// Slots that are free on the devices that fit.
    fn free_slots(&self, taken: &Taken, requires: &Requirements) -> u32 {
        let fitting = taken.devices.iter().filter(|device| device.fits(requires));
        fitting
            .map(|device| self.inner.per_device.saturating_sub(device.taken))
            .sum()
    }

    /// Whether a task could start now.
    fn must_fit(
        &self,
        taken: &Taken,
        takes: Takes,
        requires: &Requirements,
        limits: &Limits,
        runtime: Option<Runtime>,
    ) -> Result<(), NoSlot> {
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
        if !taken.devices.iter().any(|device| device.fits(requires)) {
            let wants = requires.device;
            return Err(NoSlot::NoDevice { wants });
        }
        let most = self.inner.residents;
        match takes {
            Takes::Residence if most <= taken.residents => {
                return Err(NoSlot::NoResidence { most });
            }
            Takes::Slot if self.free_slots(taken, requires) == 0 => return Err(NoSlot::Busy),
            _ => {}
        }
        let left = Bytes(self.left(taken));
        if needs > left {
            return Err(NoSlot::MemoryTaken { left, needs });
        }
        Ok(())
    }

    /// Which programs of clients run here.
    pub(crate) fn runtimes(&self) -> Runtimes {
        self.inner.runtimes.offered()
    }

    /// Takes nothing more on.
    pub(crate) fn drain(&self) {
        for device in &self.taken().devices {
            device.wanted.send_replace(false);
        }
        self.inner.occupancy.send_modify(|now| {
            now.draining = true;
            now.free = 0;
            now.free_residents = 0;
        });
    }

    /// What is free, now and as it changes.
    pub(crate) fn occupancy(&self) -> watch::Receiver<Occupancy> {
        self.inner.occupancy.subscribe()
    }

    /// Every device.
    pub(crate) fn devices_now(&self) -> Vec<DeviceState> {
        let taken = self.taken();
        // What residents have, no task can have; tasks come and go.
        let memory = self.most_of_a_task(&taken);
        taken
            .devices
            .iter()
            .map(|device| DeviceState {
                advert: advert(device, memory),
                taken: device.taken,
            })
            .collect()
    }

    fn give_back(&self, slot: &Slot) {
        let draining = self.inner.occupancy.borrow().draining;
        let mut taken = self.taken();
        if slot.takes == Takes::Residence {
            taken.residents = taken.residents.saturating_sub(1);
            taken.resident_bytes = taken.resident_bytes.saturating_sub(slot.bytes);
        } else {
            taken.task_bytes = taken.task_bytes.saturating_sub(slot.bytes);
            let of_slot = |device: &&mut Device| device.choice == slot.device;
            if let Some(device) = taken.devices.iter_mut().find(of_slot) {
                device.taken = device.taken.saturating_sub(1);
                device.wanted.send_replace(!draining);
            }
        }
        self.publish(&taken);
    }

    /// Bytes that nobody was given.
    fn left(&self, taken: &Taken) -> u64 {
        let all = self.inner.memory.saturating_mul(self.inner.slots.into());
        all.saturating_sub(taken.resident_bytes)
            .saturating_sub(taken.task_bytes)
    }

    /// Bytes that a task may have once no other runs.
    fn most_of_a_task(&self, taken: &Taken) -> u64 {
        let all = self.inner.memory.saturating_mul(self.inner.slots.into());
        let left = all.saturating_sub(taken.resident_bytes);
        left.min(self.inner.memory)
    }

    fn publish(&self, taken: &Taken) {
        let in_slots: u32 = taken.devices.iter().map(|device| device.taken).sum();
        let memory = self.most_of_a_task(taken);
        self.inner.occupancy.send_modify(|now| {
            now.slots = self.inner.slots.saturating_add(taken.residents);
            now.memory = memory;
            if now.draining {
                return;
            }
            now.free = self.inner.slots.saturating_sub(in_slots);
            now.free_residents = self.inner.residents.saturating_sub(taken.residents);
        });
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.inner
            .taken
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

/// A slot of a device, or a place for a resident model on it, taken until it is
/// dropped.
pub(crate) struct Slot {
    device: DeviceChoice,
    kind: DeviceKind,
    warm: Warm,
    takes: Takes,
    /// Memory that it was given.
    bytes: u64,
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
        self.slots.give_back(self);
    }
}

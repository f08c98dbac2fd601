//! What computes here, by which driver, and the fences around it.

use std::{env, fs, path::PathBuf};

use embermesh_compute::{
    device::{DeviceChoice, compiled_in},
    probe::DeviceReport,
};
use embermesh_node::checkup::{Checkup, DeviceStanding};

use super::finding::{Finding, Part};

/// Where the NVIDIA driver of the kernel says its version.
const NVIDIA_VERSION: &str = "/proc/driver/nvidia/version";
/// Folders in which Vulkan's drivers are listed, as its loader looks for them.
const VULKAN_FOLDERS: [&str; 3] = [
    "/etc/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/usr/share/vulkan/icd.d",
];
/// Variables that name Vulkan's drivers instead.
const VULKAN_VARIABLES: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];
/// Where the kernel shows GPUs.
const GPU_FOLDER: &str = "/dev/dri";
/// How to do without a device.
const WITHOUT: &str = "or offer what works: `devices = [\"cpu\"]` under [node]";
/// Files of one folder that are looked at.
const MAX_FILES: usize = 64;

/// What the system has for GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Drivers {
    /// What NVIDIA's kernel driver says of itself.
    pub(crate) nvidia: Option<String>,
    /// Vulkan's drivers, by their files.
    pub(crate) vulkan: Vec<PathBuf>,
    /// The variable that names them, and what it says.
    pub(crate) named_by: Option<(&'static str, String)>,
    /// Whether the kernel shows a GPU.
    pub(crate) has_gpu: bool,
}

impl Drivers {
    /// Looks at this machine.
    pub(crate) fn look() -> Self {
        let nvidia = fs::read_to_string(NVIDIA_VERSION).ok();
        let named_by = VULKAN_VARIABLES.into_iter().find_map(|name| {
            let value = env::var(name).ok().filter(|value| !value.is_empty())?;
            Some((name, value))
        });
        let vulkan = match &named_by {
            Some((_, value)) => env::split_paths(value)
                .filter(|path| path.is_file())
                .take(MAX_FILES)
                .collect(),
            None => VULKAN_FOLDERS.into_iter().flat_map(files).collect(),
        };
        let has_gpu = nvidia.is_some()
            || files(GPU_FOLDER)
                .iter()
                .any(|path| path.to_string_lossy().contains("renderD"));
        Self {
            nvidia: nvidia.and_then(|text| text.lines().next().map(str::to_owned)),
            vulkan,
            named_by,
            has_gpu,
        }
    }

    fn described(&self, device: DeviceChoice) -> String {
        let nvidia = self.nvidia.as_ref().map(|text| {
            let version = text.split_whitespace().find(|word| is_version(word));
            format!("NVIDIA driver {}", version.unwrap_or("of unknown version"))
        });
        let vulkan = || {
            let names = self.vulkan.iter().filter_map(|path| path.file_stem());
            let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
            (!names.is_empty()).then(|| format!("Vulkan drivers {}", names.join(", ")))
        };
        let parts = match device {
            DeviceChoice::Cpu => Vec::new(),
            DeviceChoice::Cuda(_) => nvidia.into_iter().collect(),
            DeviceChoice::Wgpu(_) => nvidia.into_iter().chain(vulkan()).collect::<Vec<_>>(),
        };
        if parts.is_empty() {
            String::new()
        } else {
            format!("; {}", parts.join(", "))
        }
    }
}

fn is_version(word: &str) -> bool {
    word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok())
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.take(MAX_FILES).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// What was found of the devices and the fences.
pub(crate) fn findings(checkup: &Checkup, drivers: &Drivers, waited_s: u64) -> Vec<Finding> {
    let chosen: Vec<DeviceChoice> = checkup.devices.iter().map(|(device, _)| *device).collect();
    // Without the owner's word a device that is not there is missed by nobody.
    let by_default = chosen == compiled_in();
    let devices = checkup
        .devices
        .iter()
        .map(|(device, standing)| match standing {
            DeviceStanding::Works(report) => {
                let otherwise = format!("{device} works as {}, and not by Vulkan", report.name);
                misnamed(*device, &otherwise, drivers)
                    .unwrap_or_else(|| works(*device, report, drivers, ""))
            }
            DeviceStanding::Slow(Some(report)) => works(
                *device,
                report,
                drivers,
                "; its driver is slow to come up now, this was measured before",
            ),
            DeviceStanding::Slow(None) => slow(*device, drivers, waited_s),
            DeviceStanding::Faulty(fault) => faulty(*device, fault, drivers, by_default),
        });
    devices.chain(fences(checkup)).collect()
}

fn slow(device: DeviceChoice, drivers: &Drivers, waited_s: u64) -> Finding {
    let text = format!("{device}: its driver did not come up within {waited_s} s");
    if let Some(misnamed) = misnamed(device, &text, drivers) {
        return misnamed;
    }
    Finding::unknown(Part::Devices, text).with(
        "wait for `embermesh node run`, which gives it 60 s: a GPU in software compiles that long; if that fails too, take it out of `devices` under [node]",
    )
}

/// A variable that names drivers, and names no file.
fn misnamed(device: DeviceChoice, text: &str, drivers: &Drivers) -> Option<Finding> {
    let (name, value) = drivers.named_by.as_ref()?;
    if !drivers.vulkan.is_empty() || !matches!(device, DeviceChoice::Wgpu(_)) {
        return None;
    }
    Some(Finding::trouble(
        Part::Devices,
        "device_driver",
        format!("{text}; {name} names {value}, which is no file, so Vulkan has no driver"),
        format!("`unset {name}`, or have it name the driver's file, {WITHOUT}"),
    ))
}

fn works(device: DeviceChoice, report: &DeviceReport, drivers: &Drivers, more: &str) -> Finding {
    let memory = match report.memory_bytes {
        0 => String::new(),
        bytes => format!(", {}", bytesize::ByteSize(bytes)),
    };
    Finding::ok(
        Part::Devices,
        format!(
            "{device} works: {}{memory}{}{more}",
            report.name,
            drivers.described(device)
        ),
    )
}

fn faulty(device: DeviceChoice, fault: &str, drivers: &Drivers, by_default: bool) -> Finding {
    if fault.contains("not compiled in") {
        return Finding::trouble(
            Part::Devices,
            "device_not_built",
            fault.to_owned(),
            format!(
                "build with `cargo build --release --features {}`, {WITHOUT}",
                device.kind().as_str()
            ),
        );
    }
    let is_absent = fault.starts_with("there is no ");
    if is_absent && let Some(misnamed) = misnamed(device, fault, drivers) {
        return misnamed;
    }
    let is_missed = !by_default || drivers.has_gpu || drivers.named_by.is_some();
    if is_absent && !is_missed {
        return Finding::note(
            Part::Devices,
            format!("{fault}, so the processor alone is offered"),
        );
    }
    if is_absent {
        return Finding::trouble(
            Part::Devices,
            "device_absent",
            format!("{fault}{}", drivers.described(device)),
            format!("{}, {WITHOUT}", install(device)),
        );
    }
    Finding::trouble(
        Part::Devices,
        "device_driver",
        format!(
            "{device} does not work: {fault}{}",
            drivers.described(device)
        ),
        format!(
            "update or reinstall its driver and restart the machine ({}), {WITHOUT}",
            see(device)
        ),
    )
}

/// How a driver is come by.
fn install(device: DeviceChoice) -> &'static str {
    match device {
        DeviceChoice::Cuda(_) => {
            "install NVIDIA's driver until `nvidia-smi` lists the GPU, and in a container pass it in (`--gpus all`)"
        }
        _ => {
            "install the GPU's Vulkan driver until `vulkaninfo --summary` lists it (Debian: `mesa-vulkan-drivers`, or NVIDIA's), and let this user use it (group `render`)"
        }
    }
}

fn see(device: DeviceChoice) -> &'static str {
    match device {
        DeviceChoice::Cuda(_) => "`nvidia-smi` and `sudo dmesg` say more",
        _ => "`vulkaninfo --summary` and `sudo dmesg` say more",
    }
}

fn fences(checkup: &Checkup) -> Vec<Finding> {
    let Some(report) = &checkup.fences else {
        return vec![
            Finding::unknown(
                Part::Devices,
                "which fences workers have was not said in time",
            )
            .with("run `embermesh worker --fences`, which says it by itself"),
        ];
    };
    let absent = report.absent();
    let mut findings: Vec<Finding> = absent
        .iter()
        .map(|(name, reason)| {
            let cure = match *name {
                "files" => "run a kernel with Landlock (5.13 or later, with `landlock` in `lsm=`); until then take jobs only from whom you trust",
                "calls" => "run a kernel with seccomp, and in a container a profile that lets it be set; until then take jobs only from whom you trust",
                _ => "let this user set its limits (`ulimit -a`); until then watch the memory of workers",
            };
            Finding::note(
                Part::Devices,
                format!("workers run without the fence `{name}`: {reason}"),
            )
            .with(cure)
        })
        .collect();
    if absent.is_empty() {
        findings.push(Finding::ok(
            Part::Devices,
            format!(
                "workers are fenced in: memory {}, files {}, calls {}",
                report.memory, report.files, report.calls
            ),
        ));
    }
    findings.push(Finding::note(
        Part::Devices,
        format!("the kernel bounds {}", checkup.groups),
    ));
    findings
}

#[cfg(test)]
mod tests {
    use embermesh_compute::pipe::SandboxReport;
    use embermesh_crypto::statement::DeviceKind;

    use super::{super::finding::State, *};

    fn checkup(devices: Vec<(DeviceChoice, DeviceStanding)>) -> Checkup {
        Checkup {
            devices,
            fences: Some(SandboxReport {
                memory: "limited".to_owned(),
                files: "landlock, in full".to_owned(),
                calls: "seccomp".to_owned(),
            }),
            groups: "memory, by control groups",
        }
    }

    fn found(fault: &str, drivers: &Drivers, devices: &[DeviceChoice]) -> Finding {
        let faulty = |&device| (device, DeviceStanding::Faulty(fault.to_owned()));
        let checkup = checkup(devices.iter().map(faulty).collect());
        findings(&checkup, drivers, 9).remove(0)
    }

    const GPU: DeviceChoice = DeviceChoice::Wgpu(0);
    const ABSENT: &str = "there is no wgpu:0: 0 such devices were found";

    #[test]
    fn a_device_that_works_is_told_with_its_driver() {
        let report = DeviceReport {
            name: "a GPU".to_owned(),
            kind: DeviceKind::Wgpu,
            memory_bytes: 0,
            mflops: 1,
        };
        let drivers = Drivers {
            nvidia: Some(
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue".to_owned(),
            ),
            vulkan: vec!["/usr/share/vulkan/icd.d/nvidia_icd.json".into()],
            ..Drivers::default()
        };
        let works = checkup(vec![(GPU, DeviceStanding::Works(report))]);
        let works = findings(&works, &drivers, 9).remove(0);
        assert_eq!(works.state, State::Ok);
        assert!(
            works.text.contains("550.54.15") && works.text.contains("nvidia_icd"),
            "{}",
            works.text
        );
    }

    #[test]
    fn a_driver_that_fails_is_a_trouble_with_its_cure() {
        let none = Drivers::default();
        let crash = found("its driver took the probe down (signal: 11)", &none, &[GPU]);
        assert_eq!(crash.code, "device_driver");
        assert!(crash.cure.unwrap().contains("vulkaninfo"));
        let cuda = DeviceChoice::Cuda(0);
        let cuda = found("cuda:0 is not compiled in: build", &none, &[cuda]);
        assert_eq!(cuda.code, "device_not_built");
        assert!(cuda.cure.unwrap().contains("--features cuda"));
    }

    #[test]
    fn a_device_that_nobody_asked_for_is_missed_by_nobody() {
        let all = compiled_in();
        let none = Drivers::default();
        if all.contains(&GPU) {
            assert_eq!(found(ABSENT, &none, &all).state, State::Note);
            // The kernel has one that no driver shows.
            let hidden = Drivers {
                has_gpu: true,
                ..Drivers::default()
            };
            assert_eq!(found(ABSENT, &hidden, &all).code, "device_absent");
        }
        assert_eq!(found(ABSENT, &none, &[GPU]).code, "device_absent");
    }

    #[test]
    fn a_variable_that_names_no_driver_is_named() {
        let wrong = Drivers {
            named_by: Some(("VK_ICD_FILENAMES", "/gone.json".to_owned())),
            ..Drivers::default()
        };
        let found = found(ABSENT, &wrong, &[GPU]);
        assert_eq!(found.code, "device_driver");
        assert!(found.text.contains("/gone.json"));
        assert!(found.cure.unwrap().contains("unset VK_ICD_FILENAMES"));
        let slow = checkup(vec![(GPU, DeviceStanding::Slow(None))]);
        assert_eq!(findings(&slow, &wrong, 9)[0].code, "device_driver");
    }

    #[test]
    fn a_fence_that_is_missing_is_noted_with_what_to_do() {
        let mut lacking = checkup(Vec::new());
        lacking.fences = Some(SandboxReport {
            files: "absent: no landlock".to_owned(),
            ..lacking.fences.unwrap()
        });
        let missing = findings(&lacking, &Drivers::default(), 9).remove(0);
        assert_eq!(missing.state, State::Note);
        assert!(missing.cure.unwrap().contains("Landlock"));
        lacking.fences = None;
        let silent = findings(&lacking, &Drivers::default(), 9).remove(0);
        assert_eq!(silent.state, State::Unknown);
    }

    #[test]
    fn a_driver_that_is_slow_is_neither_broken_nor_well() {
        let slow = checkup(vec![(GPU, DeviceStanding::Slow(None))]);
        let slow = findings(&slow, &Drivers::default(), 9).remove(0);
        assert_eq!(slow.state, State::Unknown);
        assert!(slow.text.contains("9 s"));
    }
}

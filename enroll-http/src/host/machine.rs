//! Load, memory, disks, network, uptime.

use enroll_core::model::Sample;
use sysinfo::{DiskRefreshKind, Disks, Networks, System};

/// What is kept between two measurements.
pub(super) struct Machine {
    system: System,
    disks: Disks,
    networks: Networks,
}

/// A disk as it was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) mount: String,
    pub(super) device: String,
    pub(super) kind: String,
    pub(super) size: u64,
    pub(super) available: u64,
}

/// Memory as it was measured, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) size: u64,
    pub(super) available: u64,
}

/// One measurement.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) samples: Vec<Sample>,
    pub(super) disks: Vec<Disk>,
    pub(super) memory: Memory,
}

impl Machine {
    pub(super) fn new() -> Self {
        let (system, disks, networks) = (System::new(), Disks::new(), Networks::new());
        Self { system, disks, networks }
    }

    /// Measures all there is. It reads files and asks file systems, one of which may hang: not for a
    /// thread that others wait for.
    pub(super) fn measure(&mut self) -> Measured {
        self.system.refresh_memory();
        self.system.refresh_cpu_usage();
        self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
        self.networks.refresh(true);
        let disks = self.disks();
        let memory =
            Memory { size: self.system.total_memory(), available: self.system.available_memory() };
        let mut samples = self.of_the_system(memory);
        samples.extend(disks.iter().flat_map(of_disk));
        samples.extend(self.of_the_network());
        Measured { samples, disks, memory }
    }

    fn of_the_system(&self, memory: Memory) -> Vec<Sample> {
        let load = System::load_average();
        vec![
            Sample::gauge("node_load1", load.one),
            Sample::gauge("node_load5", load.five),
            Sample::gauge("node_load15", load.fifteen),
            Sample::gauge("node_boot_time_seconds", float(System::boot_time())),
            Sample::gauge("node_uptime_seconds", float(System::uptime())),
            Sample::gauge("node_cpus", float(self.system.cpus().len() as u64)),
            // Since the measurement before this one.
            Sample::gauge(
                "node_cpu_usage_ratio",
                f64::from(self.system.global_cpu_usage()) / 100.0,
            ),
            Sample::gauge("node_memory_MemTotal_bytes", float(memory.size)),
            Sample::gauge("node_memory_MemAvailable_bytes", float(memory.available)),
            Sample::gauge("node_memory_SwapTotal_bytes", float(self.system.total_swap())),
            Sample::gauge("node_memory_SwapFree_bytes", float(self.system.free_swap())),
        ]
    }

    fn of_the_network(&self) -> impl Iterator<Item = Sample> {
        self.networks.iter().flat_map(|(device, data)| {
            let counter = |name: &str, bytes: u64| {
                Sample::counter(name, float(bytes)).with_label("device", device.as_str())
            };
            [
                counter("node_network_receive_bytes_total", data.total_received()),
                counter("node_network_transmit_bytes_total", data.total_transmitted()),
            ]
        })
    }

    fn disks(&self) -> Vec<Disk> {
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        let disk = |disk: &sysinfo::Disk| Disk {
            mount: text(disk.mount_point().as_os_str()),
            device: text(disk.name()),
            kind: text(disk.file_system()),
            size: disk.total_space(),
            available: disk.available_space(),
        };
        self.disks.iter().map(disk).collect()
    }
}

fn of_disk(disk: &Disk) -> [Sample; 2] {
    let gauge = |name: &str, bytes: u64| {
        Sample::gauge(name, float(bytes))
            .with_label("mountpoint", disk.mount.as_str())
            .with_label("device", disk.device.as_str())
            .with_label("fstype", disk.kind.as_str())
    };
    [
        gauge("node_filesystem_size_bytes", disk.size),
        gauge("node_filesystem_avail_bytes", disk.available),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a measured value of more than 2^53 may be rounded")]
const fn float(value: u64) -> f64 {
    value as f64
}

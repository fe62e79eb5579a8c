//! The hardware, as far as it does not change while the machine runs.

use enroll_core::model::Facts;
use serde_json::{Value, json};
use sysinfo::{CpuRefreshKind, Disk, DiskRefreshKind, Disks, System};

/// The hardware of this machine and the system on it: a value for [`Facts::other`], by convention under
/// `inventory`. None of it moves by itself, so that it is told once and again only when it changed.
///
/// It reads files: call it when a worker starts, not at each heartbeat.
#[must_use]
pub fn inventory() -> Value {
    let mut system = System::new();
    system.refresh_memory();
    system.refresh_cpu_list(CpuRefreshKind::nothing());
    let kind = DiskRefreshKind::nothing().with_storage().with_kind();
    let disks = Disks::new_with_refreshed_list_specifics(kind);
    let disks = disks.iter().map(described).filter(|disk| disk.to_string().len() <= MOST_OF_A_DISK);
    let model = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
    let inventory = json!({
        "cpu": {
            "model": model,
            "cores": System::physical_core_count(),
            "threads": system.cpus().len(),
        },
        "memory_bytes": system.total_memory(),
        "swap_bytes": system.total_swap(),
        "kernel": System::kernel_version(),
        "system": System::long_os_version(),
        "disks": disks.take(MOST_DISKS).collect::<Vec<_>>(),
    });
    debug_assert!(inventory.to_string().len() < Facts::MAX_OTHER, "it is kept with the node");
    inventory
}

fn described(disk: &Disk) -> Value {
    json!({
        "device": disk.name().to_string_lossy(),
        "mountpoint": disk.mount_point().to_string_lossy(),
        "fstype": disk.file_system().to_string_lossy(),
        "size_bytes": disk.total_space(),
    })
}

/// A machine that runs containers has mounts without end.
const MOST_DISKS: usize = 32;
/// In bytes of JSON: a path may be of 4 KiB, and the facts of all of them have to fit.
const MOST_OF_A_DISK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_this_machine_and_does_not_change() {
        let first = inventory();
        assert!(first["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{first}");
        assert!(first["cpu"]["threads"].as_u64().is_some_and(|threads| threads > 0), "{first}");
        assert!(first["kernel"].is_string(), "{first}");
        assert_eq!(inventory(), first);
    }
}

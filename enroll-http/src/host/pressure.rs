//! When something runs short, and when it no longer does.

use std::collections::BTreeSet;

use enroll_core::model::{HostEvent, Timestamp};

use super::machine::{Disk, Memory};

/// What runs short at present. Each shortage is an event when it begins and when it ends.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    full: BTreeSet<String>,
    memory: bool,
}

impl Pressure {
    /// What has changed since the measurement before.
    pub(super) fn changes(
        &mut self,
        at: Timestamp,
        disks: &[Disk],
        memory: Memory,
    ) -> Vec<HostEvent> {
        let mut events = Vec::new();
        for disk in disks.iter().filter(|disk| disk.size > 0) {
            let was = self.full.contains(&disk.mount);
            match short(disk.available, disk.size, DISK, was) {
                true if !was => {
                    self.full.insert(disk.mount.clone());
                    events.push(of_disk(at, "host.disk_full", disk));
                }
                false if was => {
                    self.full.remove(&disk.mount);
                    events.push(of_disk(at, "host.disk_recovered", disk));
                }
                _ => {}
            }
        }
        // A mount that is gone says nothing more.
        self.full.retain(|mount| disks.iter().any(|disk| disk.mount == *mount));
        let is = memory.size > 0 && short(memory.available, memory.size, MEMORY, self.memory);
        if is != self.memory {
            let kind = if is { "host.memory_low" } else { "host.memory_recovered" };
            let says =
                format!("{} of {} bytes of memory are available", memory.available, memory.size);
            events.push(HostEvent::new(at, kind, says));
        }
        self.memory = is;
        events
    }
}

/// Whether less than one `part`th is left; once it is, until twice as much is, so that a value at the
/// limit is not told of again and again.
const fn short(available: u64, size: u64, part: u64, was: bool) -> bool {
    let limit = if was { size / part * 2 } else { size / part };
    available < limit
}

fn of_disk(at: Timestamp, kind: &str, disk: &Disk) -> HostEvent {
    let says = format!("{} of {} bytes are available", disk.available, disk.size);
    HostEvent::new(at, kind, says).with_attribute("mountpoint", disk.mount.as_str())
}

/// A disk is full with less than a tenth left.
const DISK: u64 = 10;
/// Memory is low with less than a twentieth left.
const MEMORY: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

    fn disk(available: u64) -> Disk {
        let (mount, device, kind) = ("/data".into(), "sda".into(), "ext4".into());
        Disk { mount, device, kind, size: 100, available }
    }

    #[test]
    fn a_shortage_is_told_when_it_begins_and_when_it_has_clearly_ended() {
        let plenty = Memory { size: 100, available: 50 };
        let mut pressure = Pressure::default();
        let mut kinds = |available, memory| {
            let events = pressure.changes(AT, &[disk(available)], memory);
            assert!(events.iter().all(|event| event.check().is_ok()), "{events:?}");
            events.iter().map(|event| event.kind().to_owned()).collect::<Vec<_>>()
        };
        assert!(kinds(10, plenty).is_empty());
        assert_eq!(kinds(9, plenty), ["host.disk_full"]);
        assert!(kinds(10, plenty).is_empty() && kinds(19, plenty).is_empty());
        assert_eq!(kinds(20, plenty), ["host.disk_recovered"]);
        let low = Memory { size: 100, available: 4 };
        assert_eq!(kinds(50, low), ["host.memory_low"]);
        assert!(kinds(50, low).is_empty());
        assert_eq!(kinds(50, plenty), ["host.memory_recovered"]);
    }

    #[test]
    fn what_has_no_size_and_what_is_gone_is_not_short() {
        let none = Memory { size: 0, available: 0 };
        let mut pressure = Pressure::default();
        assert!(pressure.changes(AT, &[Disk { size: 0, ..disk(0) }], none).is_empty());
        assert_eq!(pressure.changes(AT, &[disk(1)], none).len(), 1);
        assert!(pressure.changes(AT, &[], none).is_empty());
        assert_eq!(pressure.changes(AT, &[disk(1)], none).len(), 1, "it is there again, and full");
    }
}

//! How the thread that writes shares the processors.
//!
//! By default Linux lets a thread that wakes up interrupt one that has been running: after every sync
//! the writer would take a processor at once from a thread that is about to bring it more to write,
//! and commit what little there is. Under `SCHED_BATCH` it runs when a processor is free or its turn
//! has come, with the same share of it, and finds more to commit at once. On two busy processors that
//! is a seventh of what the master spends on an enrollment.

/// Makes the thread that calls this one that interrupts no other. Where the system has no such thing
/// or refuses, it stays as it is, and so does all that it does.
#[cfg(target_os = "linux")]
pub(crate) fn interrupt_nobody() {
    use preempt_rt::sched::{Pid, Scheduler, SchedulerParams, set_scheduler};

    // The one priority that this policy knows.
    let params = SchedulerParams { priority: 0 };
    if let Err(cause) = set_scheduler(Pid::current_thread(), Scheduler::SCHED_BATCH, params) {
        tracing::debug!(%cause, "the writer is scheduled like any other thread");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn interrupt_nobody() {}

//! What a child uses of the machine, as the kernel counts it.

use std::time::Duration;

use procfs::WithCurrentSystemInfo;
use procfs::process::Process;

use super::core::life::Usage;

/// `None` when the process is gone.
pub fn usage(pid: u32) -> Option<Usage> {
    let stat = Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?;
    let ticks = (stat.utime + stat.stime) as f64;
    Some(Usage {
        cpu: Duration::from_secs_f64(ticks / procfs::ticks_per_second() as f64),
        memory_bytes: stat.rss_bytes().get(),
    })
}

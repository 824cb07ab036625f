//! How the daemon's threads take memory.

/// Has all threads take it from one heap. The C library gives each one of its own, and what records
/// leave free in those is a fifth of what those of 1,000 VMs cost (docs/performance.md).
///
/// It is for the program's beginning, when it has one thread. Another C library than glibc is left as it
/// is.
pub fn share() {
    #[cfg(target_env = "gnu")]
    share_arena();
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no crate in the tree wraps this call")]
fn share_arena() {
    // SAFETY: the call takes two numbers, and locks what it changes.
    let is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) } == 1;
    debug_assert!(is_set, "glibc knows the parameter since 2.10");
}

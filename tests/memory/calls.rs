//! Calls of the system, counted by standing in their place.
//!
//! The functions of C by which the runtime and the standard library make them are defined here, and the linker takes these. What the
//! ends ask of the system without C, `splice` above all, is not counted.

#![expect(
    unsafe_code,
    reason = "functions of C are declared and defined unsafely"
)]

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{
    c_int, c_void, epoll_event, iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t,
    timespec,
};
use mgrok_allocations::{GROUPS, group_of_this_thread};

/// How often each was called, by groups of threads.
static COUNTS: [[AtomicUsize; NAMES.len()]; GROUPS] =
    [const { [const { AtomicUsize::new(0) }; NAMES.len()] }; GROUPS];

/// How many bytes have passed between the program and its files, by groups of threads.
static BYTES: [AtomicUsize; GROUPS] = [const { AtomicUsize::new(0) }; GROUPS];

macro_rules! count {
    ($($name:ident ($($argument:ident: $type:ty),*) -> $result:ty, $number:ident;)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        #[expect(non_camel_case_types, reason = "their names in C")]
        #[derive(Clone, Copy)]
        enum Kind { $($name),* }

        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) -> $result {
                // SAFETY: the arguments are what the system takes, as whoever calls has promised.
                let result = unsafe { libc::syscall(libc::$number, $($argument),*) } as $result;
                note(Kind::$name, result as isize);
                result
            }
        )*
    };
}

count! {
    read(fd: c_int, buffer: *mut c_void, len: size_t) -> ssize_t, SYS_read;
    readv(fd: c_int, buffers: *const iovec, count: c_int) -> ssize_t, SYS_readv;
    recvfrom(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int, from: *mut sockaddr, from_len: *mut socklen_t) -> ssize_t, SYS_recvfrom;
    recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t, SYS_recvmsg;
    recvmmsg(fd: c_int, messages: *mut mmsghdr, count: u32, flags: c_int, timeout: *mut timespec) -> c_int, SYS_recvmmsg;
    write(fd: c_int, buffer: *const c_void, len: size_t) -> ssize_t, SYS_write;
    writev(fd: c_int, buffers: *const iovec, count: c_int) -> ssize_t, SYS_writev;
    sendto(fd: c_int, buffer: *const c_void, len: size_t, flags: c_int, to: *const sockaddr, to_len: socklen_t) -> ssize_t, SYS_sendto;
    sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t, SYS_sendmsg;
    sendmmsg(fd: c_int, messages: *mut mmsghdr, count: u32, flags: c_int) -> c_int, SYS_sendmmsg;
    epoll_wait(fd: c_int, events: *mut epoll_event, count: c_int, timeout: c_int) -> c_int, SYS_epoll_wait;
    epoll_ctl(fd: c_int, operation: c_int, which: c_int, event: *mut epoll_event) -> c_int, SYS_epoll_ctl;
    socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int, SYS_socket;
    connect(fd: c_int, to: *const sockaddr, len: socklen_t) -> c_int, SYS_connect;
    accept4(fd: c_int, from: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int, SYS_accept4;
    getsockname(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int, SYS_getsockname;
    getpeername(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int, SYS_getpeername;
    getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int, SYS_getsockopt;
    setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int, SYS_setsockopt;
    shutdown(fd: c_int, how: c_int) -> c_int, SYS_shutdown;
    close(fd: c_int) -> c_int, SYS_close;
}

/// In C, `recvfrom` that does not ask who has sent.
#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: as whoever calls has promised.
    unsafe {
        recvfrom(
            fd,
            buffer,
            len,
            flags,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    }
}

/// In C, `sendto` without an address.
#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, buffer: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: as whoever calls has promised.
    unsafe { sendto(fd, buffer, len, flags, std::ptr::null(), 0) }
}

fn note(kind: Kind, result: isize) {
    let group = group_of_this_thread();
    COUNTS[group][kind as usize].fetch_add(1, Ordering::Relaxed);
    let bytes = match kind {
        Kind::read | Kind::readv | Kind::recvfrom | Kind::recvmsg => result,
        Kind::write | Kind::writev | Kind::sendto | Kind::sendmsg => result,
        _ => 0,
    };
    BYTES[group].fetch_add(bytes.max(0).cast_unsigned(), Ordering::Relaxed);
}

/// What there has been, or what there was between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Calls {
    counts: [usize; NAMES.len()],
    /// What they have moved.
    pub(crate) bytes: usize,
}

impl Calls {
    /// The calls of the threads of `group` so far.
    pub(crate) fn of(group: usize) -> Self {
        Self {
            counts: COUNTS[group]
                .each_ref()
                .map(|it| it.load(Ordering::Relaxed)),
            bytes: BYTES[group].load(Ordering::Relaxed),
        }
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut calls = self.clone();
        calls.bytes -= before.bytes;
        for (count, before) in calls.counts.iter_mut().zip(before.counts) {
            *count -= before;
        }
        calls
    }

    /// How many there were but for waits.
    pub(crate) fn all(&self) -> usize {
        self.counts.iter().sum::<usize>() - self.waits()
    }

    /// How often somebody has waited for something to happen.
    pub(crate) fn waits(&self) -> usize {
        self.counts[Kind::epoll_wait as usize]
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in NAMES
            .iter()
            .zip(self.counts)
            .filter(|(_, count)| *count > 0)
        {
            write!(f, "{name} {count}, ")?;
        }
        write!(f, "{} bytes", self.bytes)
    }
}

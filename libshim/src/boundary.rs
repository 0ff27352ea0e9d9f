//! Between C and Rust: nothing unwinds into C, no pointer is used before it was compared with NULL.

use crate::result::{
    Failure, SHIM_ERR_INTERNAL, SHIM_ERR_NULL, SHIM_ERR_SIZE, SHIM_OK, remember, shim_result,
};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the body of an exported function. A panic becomes SHIM_ERR_INTERNAL.
pub fn result(body: impl FnOnce() -> Result<(), Failure>) -> shim_result {
    match outcome(body) {
        Ok(()) => SHIM_OK,
        Err(failure) => {
            remember(&failure);
            failure.code
        }
    }
}

/// The same for functions in the manner of the system's: 0, or -1 and errno.
pub fn errno(body: impl FnOnce() -> Result<(), Failure>) -> libc::c_int {
    match outcome(body) {
        Ok(()) => 0,
        Err(failure) => {
            remember(&failure);
            set_errno(failure.errno());
            -1
        }
    }
}

/// The same for functions that cannot fail: a panic gives `otherwise`.
pub fn answer<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}

fn outcome(body: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    // What a panic may leave behind half done is dropped with the call: handles put themselves right on unwinding.
    catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err(Failure::new(SHIM_ERR_INTERNAL, "panic in libshim")))
}

/// Sets errno of the calling thread.
pub fn set_errno(value: libc::c_int) {
    // SAFETY: the location is valid for the calling thread as long as it runs.
    unsafe { *libc::__errno_location() = value };
}

/// A reference from a pointer of the caller.
///
/// # Safety
/// A non-NULL pointer has to point to a valid value that nobody changes or frees during the call.
///
/// # Errors
/// SHIM_ERR_NULL.
pub unsafe fn reference<'a, T>(p: *const T) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { p.as_ref() }.ok_or(SHIM_ERR_NULL.into())
}

/// Writes a value through a pointer of the caller, who need not have initialised it.
///
/// # Safety
/// A non-NULL pointer has to point to room for a `T`.
///
/// # Errors
/// SHIM_ERR_NULL.
pub unsafe fn store<T>(p: *mut T, value: T) -> Result<(), Failure> {
    if p.is_null() {
        return Err(SHIM_ERR_NULL.into());
    }
    // SAFETY: not NULL, and room for a T by the caller's promise.
    unsafe { p.write_unaligned(value) };
    Ok(())
}

/// Writes the first `size` octets of a structure: a program that was built with an older header knows only those.
///
/// # Safety
/// A non-NULL pointer has to point to room for `size` octets.
///
/// # Errors
/// SHIM_ERR_NULL; SHIM_ERR_SIZE if the caller's structure is larger than ours, as it has fields that would stay unset.
pub unsafe fn store_sized<T: Copy>(p: *mut T, size: usize, value: T) -> Result<(), Failure> {
    if p.is_null() {
        return Err(SHIM_ERR_NULL.into());
    }
    check_size::<T>(size)?;
    // SAFETY: `value` has at least `size` octets, the caller's room has them by promise, and they do not overlap.
    unsafe { (&raw const value).cast::<u8>().copy_to_nonoverlapping(p.cast::<u8>(), size) };
    Ok(())
}

/// Whether a structure of the caller, so many octets long, can be filled in whole.
///
/// # Errors
/// SHIM_ERR_SIZE.
pub fn check_size<T>(size: usize) -> Result<(), Failure> {
    if size == 0 || size > mem::size_of::<T>() {
        let text = format!("the structure has {} octets, not {size}", mem::size_of::<T>());
        return Err(Failure::new(SHIM_ERR_SIZE, text));
    }
    Ok(())
}

/// Fills an array of the caller. `count` says how many fit, and tells afterwards how many there are, also if they do
/// not fit. `size` is that of one element in the caller's eyes.
///
/// # Safety
/// `count` has to be NULL or valid; `array` NULL or with room for `*count` elements of `size` octets.
///
/// # Errors
/// SHIM_ERR_NULL for `count`, or for `array` unless nothing fits anyway; SHIM_ERR_SIZE.
pub unsafe fn store_array<T: Copy>(
    array: *mut T,
    size: usize,
    count: *mut usize,
    values: &[T],
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let room = *unsafe { reference(count) }?;
    // SAFETY: as above.
    unsafe { store(count, values.len()) }?;
    if room < values.len() {
        let text = format!("room for {room}, there are {}", values.len());
        return Err(Failure::new(SHIM_ERR_SIZE, text));
    }
    for (i, value) in values.iter().enumerate() {
        if array.is_null() {
            return Err(SHIM_ERR_NULL.into());
        }
        let place = array.cast::<u8>().wrapping_add(i * size).cast::<T>();
        // SAFETY: element `i` of an array with room for more than that.
        unsafe { store_sized(place, size, *value) }?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_end_at_the_boundary() {
        assert_eq!(result(|| panic!("for the test")), SHIM_ERR_INTERNAL);
        assert_eq!(answer(7, || panic!("for the test")), 7);
        assert_eq!(errno(|| Err(SHIM_ERR_NULL.into())), -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EFAULT));
    }

    #[test]
    fn arrays_and_structures_keep_to_their_room() {
        let mut out = [0u64; 3];
        let mut count = 2;
        let p = out.as_mut_ptr();
        // SAFETY: room as stated.
        let put = |n: &mut usize, v: &[u64]| unsafe { store_array(p, 8, n, v) }.map_err(|e| e.code);
        assert_eq!(put(&mut count, &[1, 2, 3]), Err(SHIM_ERR_SIZE));
        assert_eq!(count, 3, "so many are needed");
        assert_eq!(put(&mut count, &[1, 2]), Ok(()));
        assert_eq!((count, out), (2, [1, 2, 0]));
        let mut short = [9u8; 8];
        // SAFETY: room for four octets.
        unsafe { store_sized(short.as_mut_ptr().cast::<u64>(), 4, 0) }.unwrap();
        assert_eq!(short, [0, 0, 0, 0, 9, 9, 9, 9]);
        // SAFETY: nothing is written.
        let wide = unsafe { store_sized(short.as_mut_ptr().cast::<u64>(), 9, 0) };
        assert_eq!(wide.unwrap_err().code, SHIM_ERR_SIZE);
    }
}

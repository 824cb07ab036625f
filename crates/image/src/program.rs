//! Programs for the initrd, where there is no dynamic loader.

use thiserror::Error;

/// What keeps a program from being process 1 of an initrd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// It is something else.
    #[error("it is no 64-bit ELF program")]
    NotElf,
    /// It is for another processor.
    #[error("it is for a processor with the ELF machine number {0}")]
    OtherMachine(u16),
    /// It is linked against libraries.
    #[error("it is linked dynamically, and there are no libraries in an initrd")]
    Dynamic,
}

/// `EM_X86_64` and `EM_AARCH64` of elf(5).
const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
/// `PT_INTERP` of elf(5): the program header that names the dynamic loader.
const INTERPRETER: u32 = 3;

/// Checks that the program starts without any other file.
///
/// # Errors
///
/// When it is no 64-bit little-endian ELF file, is for another processor, or needs a dynamic loader.
pub fn check_static(program: &[u8]) -> Result<(), ProgramError> {
    // ELFCLASS64, ELFDATA2LSB.
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return Err(ProgramError::NotElf);
    }
    // The offsets are those of Elf64_Ehdr in elf(5).
    let machine = u16_at(program, 18).ok_or(ProgramError::NotElf)?;
    if machine != MACHINE {
        return Err(ProgramError::OtherMachine(machine));
    }
    match needs_interpreter(program) {
        Some(false) => Ok(()),
        Some(true) => Err(ProgramError::Dynamic),
        None => Err(ProgramError::NotElf),
    }
}

fn needs_interpreter(program: &[u8]) -> Option<bool> {
    let start = usize::try_from(u64::from_le_bytes(bytes_at(program, 32)?)).ok()?;
    let (size, count) = (u16_at(program, 54)?, u16_at(program, 56)?);
    for n in 0..usize::from(count) {
        let header = start.checked_add(n.checked_mul(usize::from(size))?)?;
        if u32::from_le_bytes(bytes_at(program, header)?) == INTERPRETER {
            return Some(true);
        }
    }
    Some(false)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes_at(bytes, offset).map(u16::from_le_bytes)
}

fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header and program headers of these types.
    fn elf(machine: u16, headers: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56] = u8::try_from(headers.len()).unwrap();
        for kind in headers {
            file.extend(kind.to_le_bytes());
            file.extend([0; 52]);
        }
        file
    }

    #[test]
    fn a_program_without_a_loader_is_static() {
        assert_eq!(check_static(&elf(MACHINE, &[1, 1, 6])), Ok(()));
        assert_eq!(check_static(&elf(MACHINE, &[1, 3, 1])), Err(ProgramError::Dynamic));
    }

    #[test]
    fn this_very_test_is_linked_dynamically() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(check_static(&own), Err(ProgramError::Dynamic));
    }

    #[test]
    fn what_is_no_program_for_this_processor_is_refused() {
        assert_eq!(check_static(b"#!/bin/sh\n"), Err(ProgramError::NotElf));
        assert_eq!(check_static(&elf(3, &[1])), Err(ProgramError::OtherMachine(3)));
        let whole = elf(MACHINE, &[1, 1]);
        for length in 0..whole.len() - 52 {
            assert_eq!(check_static(&whole[..length]), Err(ProgramError::NotElf), "{length}");
        }
    }
}

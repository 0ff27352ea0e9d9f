//! The set of pairs that pass in the kernel, as the data plane wants it.

use crate::dataplane::kernel_path::{PairCount, PairKey, PairSet, SetError};
use crate::nft::{NftError, Passing, PassingCount, PassingKey};

/// The set of our table.
#[derive(Debug)]
pub struct KernelSet(pub Passing);

fn key(key: PairKey) -> PassingKey {
    PassingKey { src: key.src, dst: key.dst, protocol: key.protocol }
}

fn count(n: PassingCount) -> PairCount {
    PairCount { packets: n.packets, octets: n.octets }
}

fn error(e: NftError) -> SetError {
    match e {
        NftError::TableMissing => SetError::Missing,
        e => SetError::Failed(e.to_string()),
    }
}

impl PairSet for KernelSet {
    fn enter(&mut self, pair: PairKey) -> Result<PairCount, SetError> {
        self.0.enter(key(pair)).map_err(error)?;
        Ok(count(PassingCount::FRESH))
    }

    fn leave(&mut self, pair: PairKey) -> Result<(), SetError> {
        self.0.leave(key(pair)).map_err(error)
    }

    fn read(&mut self, each: &mut dyn FnMut(PairKey, PairCount)) -> Result<(), SetError> {
        let read = |k: PassingKey, n: PassingCount| {
            each(PairKey { src: k.src, dst: k.dst, protocol: k.protocol }, count(n));
        };
        self.0.read(read).map_err(error)
    }
}

//! The widest vectors that the processor has, found once.

use std::sync::LazyLock;

use pulp::{Arch, WithSimd};

/// Runs what is compiled for every width at the widest that is there.
pub(crate) fn widest<Op: WithSimd>(op: Op) -> Op::Output {
    static WIDEST: LazyLock<Widest> = LazyLock::new(Widest::find);
    match *WIDEST {
        Widest::Arch(arch) => arch.dispatch(op),
        #[cfg(target_arch = "x86_64")]
        Widest::Avx2(simd) => pulp::Simd::vectorize(simd, op),
    }
}

#[derive(Clone, Copy)]
enum Widest {
    Arch(Arch),
    /// What the library leaves out as the tree has it.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
}

impl Widest {
    fn find() -> Self {
        let arch = Arch::new();
        #[cfg(target_arch = "x86_64")]
        if matches!(arch, Arch::Scalar)
            && let Some(simd) = pulp::x86::V3::try_new()
        {
            return Self::Avx2(simd);
        }
        Self::Arch(arch)
    }
}

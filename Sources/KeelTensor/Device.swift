import CKernels
import KeelCore

/// The instruction set kernels are picked for; `avx512bf16` has dot products of bf16 pairs.
package enum ISA: Int32, Sendable, CaseIterable {
    case portable = 0, avx2 = 1, avx512 = 2, avx512bf16 = 3

    /// The widest this machine has.
    package static var best: ISA { ISA(rawValue: ck_best_isa()) ?? .portable }

    init?(name: String) {
        switch name {
        case "portable": self = .portable
        case "avx2": self = .avx2
        case "avx512": self = .avx512
        case "avx512bf16": self = .avx512bf16
        default: return nil
        }
    }
}

/// Where tensors live: memory, threads and kernels.
///
/// The root of the device seam.
package final class Device: @unchecked Sendable {
    let allocator = Allocator()
    /// The threads every kernel shares.
    package let pool: ThreadPool
    /// The kernels in use.
    package let isa: ISA
    let cache: DeviceCache

    private init(threads: Int, isa: ISA) {
        self.isa = isa
        self.cache = DeviceCache(isa: isa)
        self.pool = ThreadPool(threads: threads, onStart: { Matmul.enterThread() })
        Matmul.enterThread()
    }

    /// The processor.
    ///
    /// - Parameters:
    ///   - threads: threads that compute at once, the caller included. Results do not depend on it.
    ///   - isa: which kernels; nil = what `KEEL_ISA` (portable, avx2, avx512, avx512bf16) says, else the best
    ///     there are.
    package static func cpu(threads: Int, isa: ISA? = nil) -> Device {
        let named = Environment.value("KEEL_ISA").flatMap { ISA(name: $0) }
        let wanted = isa ?? named ?? .best
        return Device(threads: threads, isa: wanted.rawValue <= ISA.best.rawValue ? wanted : .best)
    }

    /// Bytes of tensors in use now and at most, and what is kept for reuse.
    package var memory: (used: Int, peak: Int, reserved: Int, systemCalls: Int) {
        let s = allocator.statistics
        return (s.used, s.peak, s.reserved, s.systemCalls)
    }

    /// Counts the peak of `memory` from now on.
    package func resetPeak() { allocator.resetPeak() }

    /// Gives memory kept for reuse back to the system.
    package func trim() {
        cache.clear()
        allocator.trim()
    }
}

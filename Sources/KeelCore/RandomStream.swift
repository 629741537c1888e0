import Glibc

/// Random numbers without state: every value is a pure function of seed, place, counters and `n`.
///
/// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). There is no
/// generator state to save: a resumed run asks for the same numbers again.
package struct RandomStream: Sendable {
    private let key: (UInt32, UInt32)
    private let high: (UInt32, UInt32)

    /// - Parameters:
    ///   - seed: the run's seed.
    ///   - place: what the numbers are for ("generate", "order", a parameter's name).
    ///   - counters: step, epoch, row ...: streams with different counters are independent.
    package init(seed: UInt64, place: String, _ counters: UInt64...) {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325  // FNV-1a
        for byte in place.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        let key = RandomStream.mix(seed ^ RandomStream.mix(hash))
        var high = RandomStream.mix(hash &+ seed)
        for counter in counters {
            high = RandomStream.mix(high ^ RandomStream.mix(counter &+ 0x9E37_79B9_7F4A_7C15))
        }
        self.key = (UInt32(truncatingIfNeeded: key), UInt32(truncatingIfNeeded: key >> 32))
        self.high = (UInt32(truncatingIfNeeded: high), UInt32(truncatingIfNeeded: high >> 32))
    }

    /// 64 random bits, the `n`-th of this stream.
    package func bits(_ n: UInt64) -> UInt64 {
        let block = philox(n >> 1)
        return n & 1 == 0
            ? UInt64(block.0) | UInt64(block.1) << 32 : UInt64(block.2) | UInt64(block.3) << 32
    }

    /// Uniform in [0, 1), 53 bits.
    package func uniform(_ n: UInt64) -> Double {
        Double(bits(n) >> 11) * 0x1p-53
    }

    /// Standard normal (Box-Muller).
    package func normal(_ n: UInt64) -> Double {
        let u = 1 - uniform(2 &* n)
        let v = uniform(2 &* n &+ 1)
        return (-2 * log(u)).squareRoot() * cos(2 * Double.pi * v)
    }

    /// Uniform in 0..<bound, without modulo bias worth naming (64-bit multiply-shift).
    package func below(_ bound: UInt64, _ n: UInt64) -> UInt64 {
        bits(n).multipliedFullWidth(by: bound).high
    }

    /// SplitMix64's finaliser.
    private static func mix(_ x: UInt64) -> UInt64 {
        var z = x &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    private func philox(_ counter: UInt64) -> (UInt32, UInt32, UInt32, UInt32) {
        var c = (
            UInt32(truncatingIfNeeded: counter), UInt32(truncatingIfNeeded: counter >> 32), high.0,
            high.1
        )
        var k = key
        for _ in 0..<10 {
            let a = c.0.multipliedFullWidth(by: 0xD251_1F53)
            let b = c.2.multipliedFullWidth(by: 0xCD9E_8D57)
            c = (b.high ^ c.1 ^ k.0, b.low, a.high ^ c.3 ^ k.1, a.low)
            k = (k.0 &+ 0x9E37_79B9, k.1 &+ 0xBB67_AE85)
        }
        return c
    }
}

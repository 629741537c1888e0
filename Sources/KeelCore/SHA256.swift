import CSystem

/// SHA-256 (FIPS 180-4), for manifests and cache keys.
package struct SHA256: Sendable {
    private var state: [UInt32] = [
        0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB,
        0x5BE0_CD19,
    ]
    private var block: [UInt8] = []
    private var length: UInt64 = 0

    package init() {}

    package static func hex(_ bytes: UnsafeRawBufferPointer) -> String {
        var hash = SHA256()
        hash.update(bytes)
        return hash.hex()
    }

    /// The hashes of the first and the second half, one behind the other: made at once, they take little more than
    /// half the time.
    ///
    /// The first half is the largest multiple of 64 bytes that is not longer than the second.
    package static func halves(_ bytes: UnsafeRawBufferPointer) -> String {
        let blocks = bytes.count / 128
        let middle = 64 * blocks
        var (first, second) = (SHA256(), SHA256())
        if isFast, blocks > 0, let base = bytes.baseAddress {
            cs_sha256_blocks2(
                &first.state, &second.state, rounds, base, base + middle, Int64(blocks))
            (first.length, second.length) = (UInt64(middle), UInt64(middle))
            second.update(UnsafeRawBufferPointer(rebasing: bytes[(2 * middle)...]))
        } else {
            first.update(UnsafeRawBufferPointer(rebasing: bytes[..<middle]))
            second.update(UnsafeRawBufferPointer(rebasing: bytes[middle...]))
        }
        return first.hex() + second.hex()
    }

    package static func halves(_ bytes: [UInt8]) -> String { bytes.withUnsafeBytes { halves($0) } }

    package static func hex(_ bytes: [UInt8]) -> String { bytes.withUnsafeBytes { hex($0) } }
    package static func hex(_ text: String) -> String { hex(Array(text.utf8)) }

    /// The hash of a file's bytes.
    ///
    /// - Throws: `KeelError` (noInput when the file is missing, io otherwise).
    package static func hex(file path: String) throws -> String {
        let file = try PiecewiseFile(path)
        var hash = SHA256()
        var piece = [UInt8](repeating: 0, count: min(file.count, 1 << 20))
        for start in stride(from: 0, to: file.count, by: 1 << 20) {
            let range = start..<min(start + 1 << 20, file.count)
            try piece.withUnsafeMutableBytes {
                try file.read(range, into: $0)
                hash.update(UnsafeRawBufferPointer(rebasing: $0[..<range.count]))
            }
        }
        return hash.hex()
    }

    package mutating func update(_ text: String) {
        var text = text
        text.withUTF8 { update(UnsafeRawBufferPointer($0)) }
    }

    /// The bytes of numbers, as they lie in memory.
    package mutating func update(_ values: [Int32]) {
        values.withUnsafeBytes { update($0) }
    }

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        length &+= UInt64(bytes.count)
        var at = 0
        if !block.isEmpty {
            let take = min(64 - block.count, bytes.count)
            block.append(contentsOf: bytes[0..<take])
            at = take
            guard block.count == 64 else { return }
            block.withUnsafeBytes { SHA256.compress(&state, $0, 0) }
            block.removeAll(keepingCapacity: true)
        }
        let whole = (bytes.count - at) / 64
        if SHA256.isFast, whole > 0, let base = bytes.baseAddress {
            cs_sha256_blocks(&state, SHA256.rounds, base + at, Int64(whole))
            at += 64 * whole
        }
        while at + 64 <= bytes.count {
            SHA256.compress(&state, bytes, at)
            at += 64
        }
        if at < bytes.count { block.append(contentsOf: bytes[at...]) }
    }

    /// The digest of everything given so far, in lower-case hexadecimal.
    package func hex() -> String {
        var state = state
        var tail = block
        tail.append(0x80)
        while tail.count % 64 != 56 { tail.append(0) }
        for shift in stride(from: 56, through: 0, by: -8) {
            tail.append(UInt8(truncatingIfNeeded: (length &* 8) >> UInt64(shift)))
        }
        tail.withUnsafeBytes { raw in
            for at in stride(from: 0, to: raw.count, by: 64) { SHA256.compress(&state, raw, at) }
        }
        return state.map { word in
            let text = String(word, radix: 16)
            return String(repeating: "0", count: 8 - text.count) + text
        }.joined()
    }

    /// Whether the processor has instructions for it.
    private static let isFast = cs_sha256_is_fast() != 0

    private static func compress(
        _ state: inout [UInt32], _ bytes: UnsafeRawBufferPointer, _ at: Int
    ) {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { w in
            for i in 0..<16 {
                w[i] = UInt32(
                    bigEndian: bytes.loadUnaligned(fromByteOffset: at + 4 * i, as: UInt32.self))
            }
            for i in 16..<64 {
                let a = w[i - 15]
                let b = w[i - 2]
                let s0 = rotate(a, 7) ^ rotate(a, 18) ^ (a >> 3)
                let s1 = rotate(b, 17) ^ rotate(b, 19) ^ (b >> 10)
                w[i] = w[i - 16] &+ s0 &+ w[i - 7] &+ s1
            }
            var (a, b, c, d) = (state[0], state[1], state[2], state[3])
            var (e, f, g, h) = (state[4], state[5], state[6], state[7])
            rounds.withUnsafeBufferPointer { k in
                for i in 0..<64 {
                    let s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
                    let t1 = h &+ s1 &+ ((e & f) ^ (~e & g)) &+ k[i] &+ w[i]
                    let s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
                    let t2 = s0 &+ ((a & b) ^ (a & c) ^ (b & c))
                    (h, g, f, e, d, c, b, a) = (g, f, e, d &+ t1, c, b, a, t1 &+ t2)
                }
            }
            let sums = [a, b, c, d, e, f, g, h]
            for i in 0..<8 { state[i] = state[i] &+ sums[i] }
        }
    }

    @inline(__always) private static func rotate(_ x: UInt32, _ n: UInt32) -> UInt32 {
        x >> n | x << (32 - n)
    }

    /// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
    private static let rounds: [UInt32] = {
        var primes: [UInt32] = []
        var candidate: UInt32 = 2
        while primes.count < 64 {
            if primes.allSatisfy({ candidate % $0 != 0 }) { primes.append(candidate) }
            candidate += 1
        }
        return primes.map { prime in
            // floor(frac(cbrt(p)) * 2^32) by integer search: exact, unlike floating point.
            var low: UInt64 = 0
            var high: UInt64 = 8 << 32
            while high - low > 1 {
                let middle = (low + high) / 2
                if cubeIsAtMost(middle, prime) { low = middle } else { high = middle }
            }
            return UInt32(truncatingIfNeeded: low)
        }
    }()

    /// x^3 <= prime * 2^96 in 128-bit steps.
    private static func cubeIsAtMost(_ x: UInt64, _ prime: UInt32) -> Bool {
        let square = UInt128(x) * UInt128(x)  // < 2^70
        return square <= UInt128(prime) << 96 / UInt128(x == 0 ? 1 : x)
    }
}

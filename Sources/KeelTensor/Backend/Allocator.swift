import Glibc
import KeelCore

/// Keeps freed blocks by size class and hands them out again: a training step allocates nothing new
/// after the first.
///
/// What is kept is bounded: batches of ever new sizes would else leave blocks that no later one fits. Where a
/// new block would take the total beyond one and a half times the most that was ever in use, the kept blocks go
/// back to the system first.
///
/// Classes: multiples of 64 bytes up to 4 KiB, then eight per power of two (at most 12.5 % unused).
final class Allocator: @unchecked Sendable {
    /// What the allocator holds.
    package struct Statistics: Equatable, Sendable {
        /// Bytes taken from the system and not given back.
        package var reserved = 0
        /// Bytes of the blocks in use, rounded up to their classes.
        package var used = 0
        /// The largest `used` so far.
        package var peak = 0
        /// Blocks asked of the system so far.
        package var systemCalls = 0
    }

    private struct State: @unchecked Sendable {
        var free: [Int: [UnsafeMutableRawPointer]] = [:]
        var statistics = Statistics()
    }

    private let state = Guarded(State())

    /// The class of a size: what is really allocated.
    static func rounded(_ bytes: Int) -> Int {
        if bytes <= 4096 { return max(64, (bytes + 63) & ~63) }
        let power = Int.bitWidth - 1 - (bytes - 1).leadingZeroBitCount
        let step = 1 << (power - 3)
        return (bytes + step - 1) & ~(step - 1)
    }

    /// Kept in any case, so that small models never give blocks back.
    private static let slack = 64 << 20

    func take(_ bytes: Int) -> UnsafeMutableRawPointer {
        let size = Allocator.rounded(bytes)
        let (kept, isFull): (Block?, Bool) = state.withLock { state in
            state.statistics.used += size
            state.statistics.peak = max(state.statistics.peak, state.statistics.used)
            if let block = state.free[size]?.popLast() { return (Block(pointer: block), false) }
            state.statistics.reserved += size
            state.statistics.systemCalls += 1
            let bound = state.statistics.peak + state.statistics.peak / 2 + Allocator.slack
            return (nil, state.statistics.reserved > bound)
        }
        if let kept { return kept.pointer }
        if isFull { trim() }
        return UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 64)
    }

    func give(_ block: UnsafeMutableRawPointer, _ bytes: Int) {
        let size = Allocator.rounded(bytes)
        state.withLock { state in
            state.statistics.used -= size
            state.free[size, default: []].append(block)
        }
    }

    /// Returns every kept block to the system.
    func trim() {
        let blocks = state.withLock { state in
            let blocks = state.free.values.flatMap { $0 }
            for (size, list) in state.free { state.statistics.reserved -= size * list.count }
            state.free = [:]
            return Blocks(list: blocks)
        }
        for block in blocks.list { block.deallocate() }
    }

    private struct Block: @unchecked Sendable { let pointer: UnsafeMutableRawPointer }
    private struct Blocks: @unchecked Sendable { let list: [UnsafeMutableRawPointer] }

    var statistics: Statistics { state.withLock { $0.statistics } }

    /// Counts the peak from now on.
    func resetPeak() { state.withLock { $0.statistics.peak = $0.statistics.used } }

    deinit { trim() }
}

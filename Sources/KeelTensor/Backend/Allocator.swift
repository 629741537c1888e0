import Glibc
import KeelCore

/// Hands freed memory out again: a training step asks the system for nothing after the first.
///
/// Small blocks are kept by size class; large ones stand in an `Arena`. What is held without being used is
/// bounded: where a new block would take the total beyond the most that was ever in use, as much of the free
/// memory goes back to the system.
final class Allocator: @unchecked Sendable {
    /// What the allocator holds.
    package struct Statistics: Equatable, Sendable {
        /// Bytes taken from the system and not given back.
        package var reserved = 0
        /// Bytes of the blocks in use, rounded up.
        package var used = 0
        /// The largest `used` so far.
        package var peak = 0
        /// How often the system was asked for more.
        package var systemCalls = 0
    }

    private struct State: @unchecked Sendable {
        /// Small blocks by class.
        var free: [Int: [UnsafeMutableRawPointer]] = [:]
        var arena = Arena()
        var statistics = Statistics()
    }

    private let state = Guarded(State())

    /// The largest block that is kept by class.
    private static let smallest = 1 << 15

    /// What is really allocated: multiples of 64 bytes; of small blocks up from 4 KiB, one of eight sizes per
    /// power of two.
    static func rounded(_ bytes: Int) -> Int {
        if bytes <= 4096 || bytes > smallest { return max(64, (bytes + 63) & ~63) }
        let power = Int.bitWidth - 1 - (bytes - 1).leadingZeroBitCount
        let step = 1 << (power - 3)
        return (bytes + step - 1) & ~(step - 1)
    }

    /// May be held beyond the peak, so that small models never give memory back.
    private static let slack = 32 << 20

    /// A block with no defined content.
    func take(_ bytes: Int) -> UnsafeMutableRawPointer { block(bytes).pointer }

    /// A block of zeros; what has never been written to is not touched: it is zero, and the pages come later, to
    /// whichever thread needs them.
    func takeZeroed(_ bytes: Int) -> UnsafeMutableRawPointer {
        let block = block(bytes)
        memset(block.pointer, 0, min(bytes, block.used))
        return block.pointer
    }

    /// Asks for large pages where a block lies, if it is a large one.
    func useLargePages(_ block: UnsafeMutableRawPointer, _ bytes: Int) {
        let size = Allocator.rounded(bytes)
        guard size > Allocator.smallest else { return }
        let block = Block(pointer: block, used: size)
        state.withLock { $0.arena.useLargePages(block.pointer, size) }
    }

    private func block(_ bytes: Int) -> Block {
        let size = Allocator.rounded(bytes)
        return state.withLock { state in
            state.statistics.used += size
            state.statistics.peak = max(state.statistics.peak, state.statistics.used)
            guard size > Allocator.smallest else {
                return Block(pointer: Allocator.small(size, &state), used: size)
            }
            let taken = Allocator.large(size, &state)
            return Block(pointer: taken.block, used: size - taken.fresh)
        }
    }

    private static func small(_ size: Int, _ state: inout State) -> UnsafeMutableRawPointer {
        if let block = state.free[size]?.popLast() { return block }
        state.statistics.reserved += size
        state.statistics.systemCalls += 1
        return .allocate(byteCount: size, alignment: 64)
    }

    private static func large(_ size: Int, _ state: inout State) -> Arena.Taken {
        guard let taken = state.arena.take(size) else {
            preconditionFailure("the system has no \(size) bytes of memory left")
        }
        if taken.fresh > 0 {
            state.statistics.systemCalls += 1
            state.statistics.reserved += taken.fresh
            let excess = state.statistics.reserved - state.statistics.peak - slack
            if excess > 0 { state.statistics.reserved -= state.arena.release(excess) }
        }
        return taken
    }

    func give(_ block: UnsafeMutableRawPointer, _ bytes: Int) {
        let size = Allocator.rounded(bytes)
        let block = Block(pointer: block, used: size)
        state.withLock { state in
            state.statistics.used -= size
            if size > Allocator.smallest {
                let before = state.arena.dirty
                state.arena.give(block.pointer, size)
                // Joining holes may count clean memory in between as held.
                state.statistics.reserved += state.arena.dirty - before - size
            } else {
                state.free[size, default: []].append(block.pointer)
            }
        }
    }

    /// Returns all free memory to the system.
    func trim() {
        let blocks = state.withLock { state in
            let blocks = state.free.values.flatMap { $0 }
            for (size, list) in state.free { state.statistics.reserved -= size * list.count }
            state.free = [:]
            state.statistics.reserved -= state.arena.dirty
            state.arena.release()
            return Blocks(list: blocks)
        }
        for block in blocks.list { block.deallocate() }
    }

    private struct Block: @unchecked Sendable {
        let pointer: UnsafeMutableRawPointer
        /// How many of its bytes, counted from the start, may have been written to.
        let used: Int
    }
    private struct Blocks: @unchecked Sendable { let list: [UnsafeMutableRawPointer] }

    var statistics: Statistics { state.withLock { $0.statistics } }

    /// Counts the peak from now on.
    func resetPeak() { state.withLock { $0.statistics.peak = $0.statistics.used } }

    deinit { trim() }
}

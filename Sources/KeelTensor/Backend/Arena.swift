import Glibc

/// Large blocks side by side in address space of our own.
///
/// A block goes to the lowest address where it fits, and freed neighbours join: the passes of a step free what
/// they took in the opposite order, so that the next step, whatever its sizes, finds one long hole. What a hole
/// still holds of the machine's memory can be given back without moving anything.
struct Arena {
    /// Address space asked for at once; pages come when they are written to.
    static let regionBytes = 1 << 30

    /// A free range.
    private struct Hole {
        var offset: Int
        var bytes: Int
        /// How many of its bytes, counted from the start, may hold memory of the machine; the others are zero.
        var dirty: Int

        var end: Int { offset + bytes }
        var dirtyEnd: Int { offset + dirty }
    }

    private struct Region {
        let base: UnsafeMutableRawPointer
        let bytes: Int
        /// Ascending, never touching.
        var holes: [Hole]
    }

    private var regions: [Region] = []
    /// Bytes of free ranges that may hold memory of the machine.
    private(set) var dirty = 0

    /// What `take` has to tell.
    struct Taken {
        let block: UnsafeMutableRawPointer
        /// Bytes at the end of the block that the system has yet to find memory for: they are zero.
        let fresh: Int
    }

    /// The first hole that is long enough; nil when the system has no room left.
    ///
    /// - Parameter bytes: a multiple of 64.
    mutating func take(_ bytes: Int) -> Taken? {
        for region in regions.indices {
            if let taken = take(bytes, from: region) { return taken }
        }
        guard map(max(Arena.regionBytes, bytes)) || map(bytes) else { return nil }
        return take(bytes, from: regions.count - 1)
    }

    private mutating func take(_ bytes: Int, from region: Int) -> Taken? {
        guard let at = regions[region].holes.firstIndex(where: { $0.bytes >= bytes }) else {
            return nil
        }
        var hole = regions[region].holes[at]
        let block = regions[region].base + hole.offset
        let used = min(bytes, hole.dirty)
        hole.offset += bytes
        hole.bytes -= bytes
        hole.dirty -= used
        dirty -= used
        if hole.bytes == 0 {
            regions[region].holes.remove(at: at)
        } else {
            regions[region].holes[at] = hole
        }
        return Taken(block: block, fresh: bytes - used)
    }

    private mutating func map(_ bytes: Int) -> Bool {
        let base = mmap(
            nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let base, base != MAP_FAILED else { return false }
        regions.append(
            Region(
                base: base, bytes: bytes, holes: [Hole(offset: 0, bytes: bytes, dirty: 0)]))
        return true
    }

    /// Asks for pages of 2 MiB where a block lies; its neighbours in the same pages get them, too.
    ///
    /// Not for all of a region: where the optimizer's state lies in them, its pass over it takes a third longer.
    func useLargePages(_ block: UnsafeMutableRawPointer, _ bytes: Int) {
        guard
            let region = regions.first(where: { block >= $0.base && block < $0.base + $0.bytes })
        else { return }
        let page = 2 << 20
        let base = Int(bitPattern: region.base)
        let start = max(0, (Int(bitPattern: block) / page * page) - base)
        let end = min(
            region.bytes, (Int(bitPattern: block) + bytes + page - 1) / page * page - base)
        madvise(region.base + start, end - start, MADV_HUGEPAGE)
    }

    /// Takes a block back.
    mutating func give(_ block: UnsafeMutableRawPointer, _ bytes: Int) {
        guard
            let number = regions.firstIndex(where: {
                block >= $0.base && block < $0.base + $0.bytes
            })
        else { preconditionFailure("a block of \(bytes) bytes that was never handed out") }
        var new = Hole(offset: block - regions[number].base, bytes: bytes, dirty: bytes)
        dirty += bytes
        var at =
            regions[number].holes.firstIndex { $0.offset > new.offset }
            ?? regions[number].holes.count
        if at < regions[number].holes.count, regions[number].holes[at].offset == new.end {
            let next = regions[number].holes.remove(at: at)
            new.bytes += next.bytes
            new.dirty += next.dirty
        }
        if at > 0, regions[number].holes[at - 1].end == new.offset {
            at -= 1
            let before = regions[number].holes[at]
            // Memory counts from the start of a hole: a clean stretch in between counts as held.
            dirty += before.bytes - before.dirty
            new = Hole(
                offset: before.offset, bytes: before.bytes + new.bytes,
                dirty: before.bytes + new.dirty)
            regions[number].holes[at] = new
        } else {
            regions[number].holes.insert(new, at: at)
        }
    }

    /// Gives memory of free ranges back to the system, that of the highest addresses first.
    ///
    /// - Parameter wanted: bytes; less where less is free.
    /// - Returns: how many bytes of free ranges hold memory no more.
    mutating func release(_ wanted: Int) -> Int {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let before = dirty
        for number in regions.indices.reversed() {
            for at in regions[number].holes.indices.reversed() where before - dirty < wanted {
                let hole = regions[number].holes[at]
                let kept = max(0, hole.dirty - (wanted - (before - dirty)))
                let from = hole.offset + kept
                let start = min((from + page - 1) / page * page, hole.dirtyEnd)
                let end = max(start, hole.dirtyEnd / page * page)
                let base = regions[number].base
                if end > start { madvise(base + start, end - start, MADV_DONTNEED) }
                // What is left lies in pages that are shared with what is kept or in use.
                memset(base + from, 0, start - from)
                memset(base + end, 0, hole.dirtyEnd - end)
                dirty -= hole.dirty - kept
                regions[number].holes[at].dirty = kept
            }
        }
        return before - dirty
    }

    /// Gives the memory of all free ranges back to the system, and regions without blocks altogether.
    mutating func release() {
        _ = release(dirty)
        regions.removeAll { region in
            guard region.holes.first?.bytes == region.bytes else { return false }
            munmap(region.base, region.bytes)
            return true
        }
    }
}

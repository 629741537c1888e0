import CSystem
import Glibc
import Synchronization

/// The one pool of threads: fork-join over tiles.
///
/// Every thread begins with its own stretch of the tiles, the same part of every job, so that what it wrote last is
/// still in its caches; who is done takes tiles from the ends of the others' stretches, so a busy machine slows nobody
/// down. Results must not depend on which thread runs a tile. Workers spin briefly for the next job, then sleep.
package final class ThreadPool: @unchecked Sendable {
    package let threads: Int

    private struct Job {
        let body: (Int) -> Void
        let count: Int
    }

    private var job: Job?
    private var isClosing = false
    private let generation = Atomic<Int>(0)
    /// The tiles that each thread has left.
    private let stretches: UnsafeMutablePointer<Stretch>
    private let active = Atomic<Int>(0)
    private let isBusy = Atomic<Bool>(false)
    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let done = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var handles: [pthread_t] = []
    /// Looks before a thread goes to sleep: some 40 µs, about what sleeping and being woken cost on a virtual machine.
    private static let spins = 1_500

    /// - Parameters:
    ///   - threads: threads that work at once, the caller of `parallelFor` included; at least 1.
    ///   - onStart: runs once in every worker thread before its first tile.
    package init(threads: Int, onStart: @escaping @Sendable () -> Void = {}) {
        precondition(threads >= 1, "a pool needs a thread, got \(threads)")
        self.threads = threads
        stretches = .allocate(capacity: threads)
        for i in 0..<threads { (stretches + i).initialize(to: Stretch()) }
        pthread_mutex_init(lock, nil)
        pthread_cond_init(wake, nil)
        pthread_cond_init(done, nil)
        for number in 1..<threads {
            let start = Unmanaged.passRetained(
                Start(pool: Unowned(self), number: number, onStart: onStart))
            var handle = pthread_t()
            let status = pthread_create(
                &handle, nil,
                { raw in
                    guard let raw else { return nil }
                    let start = Unmanaged<Start>.fromOpaque(raw).takeRetainedValue()
                    start.onStart()
                    start.pool.value.work(start.number)
                    return nil
                }, start.toOpaque())
            if status == 0 { handles.append(handle) } else { start.release() }
        }
    }

    deinit {
        pthread_mutex_lock(lock)
        isClosing = true
        generation.add(1, ordering: .releasing)
        pthread_cond_broadcast(wake)
        pthread_mutex_unlock(lock)
        for handle in handles { pthread_join(handle, nil) }
        pthread_mutex_destroy(lock)
        pthread_cond_destroy(wake)
        pthread_cond_destroy(done)
        stretches.deinitialize(count: threads)
        stretches.deallocate()
        lock.deallocate()
        wake.deallocate()
        done.deallocate()
    }

    /// Runs `body` for 0 to `count - 1`, in any order and on any thread; returns when all are done.
    ///
    /// A call from inside a tile, or while another thread uses the pool, runs serially.
    package func parallelFor(_ count: Int, _ body: (Int) -> Void) {
        guard count > 1, !handles.isEmpty, isBusy.exchange(true, ordering: .acquiring) == false
        else {
            for i in 0..<max(count, 0) { body(i) }
            return
        }
        withoutActuallyEscaping(body) { body in
            let job = Job(body: body, count: count)
            for i in 0..<threads {
                stretches[i].fill(from: count * i / threads, to: count * (i + 1) / threads)
            }
            pthread_mutex_lock(lock)
            self.job = job
            generation.add(1, ordering: .releasing)
            pthread_cond_broadcast(wake)
            pthread_mutex_unlock(lock)
            run(job, 0)
            for _ in 0..<ThreadPool.spins where active.load(ordering: .acquiring) != 0 {
                cs_relax()
            }
            pthread_mutex_lock(lock)
            self.job = nil
            while active.load(ordering: .acquiring) != 0 { pthread_cond_wait(done, lock) }
            pthread_mutex_unlock(lock)
        }
        isBusy.store(false, ordering: .releasing)
    }

    /// Runs the tiles of thread `number`, then what the others have left.
    private func run(_ job: Job, _ number: Int) {
        while let tile = stretches[number].takeFirst() { job.body(tile) }
        for other in 1..<threads {
            let victim = (number + other) % threads
            while let tile = stretches[victim].takeLast() { job.body(tile) }
        }
    }

    /// Runs tiles of the present job; called with the lock held, returns without it.
    ///
    /// A frame of its own: the copy of the job is gone when this returns, before the worker signs off,
    /// because the caller's closure must not outlive its call.
    @inline(never) private func takePart(_ number: Int) {
        let job = self.job
        pthread_mutex_unlock(lock)
        if let job { run(job, number) }
    }

    private func work(_ number: Int) {
        var seen = 0
        while true {
            for _ in 0..<ThreadPool.spins where generation.load(ordering: .acquiring) == seen {
                cs_relax()
            }
            pthread_mutex_lock(lock)
            while generation.load(ordering: .acquiring) == seen, !isClosing {
                pthread_cond_wait(wake, lock)
            }
            seen = generation.load(ordering: .acquiring)
            if isClosing {
                pthread_mutex_unlock(lock)
                return
            }
            guard job != nil else {
                pthread_mutex_unlock(lock)
                continue
            }
            active.add(1, ordering: .acquiring)
            takePart(number)
            pthread_mutex_lock(lock)
            if active.subtract(1, ordering: .releasing).newValue == 0 { pthread_cond_signal(done) }
            pthread_mutex_unlock(lock)
        }
    }
}

/// Consecutive tiles, taken from both ends; alone on its cache lines.
private struct Stretch: ~Copyable {
    /// The first tile in the low half, the end in the high one.
    private let bounds = Atomic<UInt64>(0)
    private let padding = InlineArray<15, UInt64>(repeating: 0)

    func fill(from first: Int, to end: Int) {
        bounds.store(UInt64(end) << 32 | UInt64(first), ordering: .relaxed)
    }

    func takeFirst() -> Int? {
        take { ($0, $0 + 1) }
    }

    func takeLast() -> Int? {
        take { (($0 >> 32) - 1, $0 - (1 << 32)) }
    }

    /// - Parameter choose: from the bounds to a tile and what is left.
    private func take(_ choose: (UInt64) -> (tile: UInt64, left: UInt64)) -> Int? {
        var seen = bounds.load(ordering: .relaxed)
        while seen & 0xffff_ffff < seen >> 32 {
            let (tile, left) = choose(seen)
            let (isTaken, found) = bounds.weakCompareExchange(
                expected: seen, desired: left, ordering: .relaxed)
            if isTaken { return Int(truncatingIfNeeded: tile & 0xffff_ffff) }
            seen = found
        }
        return nil
    }
}

/// What a worker thread gets to start with.
private final class Start: Sendable {
    let pool: Unowned
    /// Which stretch of tiles is its own.
    let number: Int
    let onStart: @Sendable () -> Void

    init(pool: Unowned, number: Int, onStart: @escaping @Sendable () -> Void) {
        self.pool = pool
        self.number = number
        self.onStart = onStart
    }
}

/// The pool outlives its workers (its `deinit` joins them), so they need not retain it.
private struct Unowned: Sendable {
    unowned(unsafe) let value: ThreadPool

    init(_ value: ThreadPool) { self.value = value }
}

import CSystem
import Glibc
import Synchronization

/// The one pool of threads: fork-join over tiles.
///
/// Tiles are handed out as threads become free, so a busy machine slows nobody down; results must
/// not depend on which thread runs a tile. Workers spin briefly for the next job, then sleep.
package final class ThreadPool: @unchecked Sendable {
    package let threads: Int

    private struct Job {
        let body: (Int) -> Void
        let count: Int
    }

    private var job: Job?
    private var isClosing = false
    private let generation = Atomic<Int>(0)
    private let next = Atomic<Int>(0)
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
        pthread_mutex_init(lock, nil)
        pthread_cond_init(wake, nil)
        pthread_cond_init(done, nil)
        for _ in 1..<threads {
            let start = Unmanaged.passRetained(Start(pool: Unowned(self), onStart: onStart))
            var handle = pthread_t()
            let status = pthread_create(
                &handle, nil,
                { raw in
                    guard let raw else { return nil }
                    let start = Unmanaged<Start>.fromOpaque(raw).takeRetainedValue()
                    start.onStart()
                    start.pool.value.work()
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
            next.store(0, ordering: .relaxed)
            pthread_mutex_lock(lock)
            self.job = job
            generation.add(1, ordering: .releasing)
            pthread_cond_broadcast(wake)
            pthread_mutex_unlock(lock)
            run(job)
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

    private func run(_ job: Job) {
        while true {
            let tile = next.add(1, ordering: .relaxed).oldValue
            guard tile < job.count else { return }
            job.body(tile)
        }
    }

    /// Runs tiles of the present job; called with the lock held, returns without it.
    ///
    /// A frame of its own: the copy of the job is gone when this returns, before the worker signs off,
    /// because the caller's closure must not outlive its call.
    @inline(never) private func takePart() {
        let job = self.job
        pthread_mutex_unlock(lock)
        if let job { run(job) }
    }

    private func work() {
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
            takePart()
            pthread_mutex_lock(lock)
            if active.subtract(1, ordering: .releasing).newValue == 0 { pthread_cond_signal(done) }
            pthread_mutex_unlock(lock)
        }
    }
}

/// What a worker thread gets to start with.
private final class Start: Sendable {
    let pool: Unowned
    let onStart: @Sendable () -> Void

    init(pool: Unowned, onStart: @escaping @Sendable () -> Void) {
        self.pool = pool
        self.onStart = onStart
    }
}

/// The pool outlives its workers (its `deinit` joins them), so they need not retain it.
private struct Unowned: Sendable {
    unowned(unsafe) let value: ThreadPool

    init(_ value: ThreadPool) { self.value = value }
}

import CWorker
import Glibc
import KeelCore

/// The workers of one reward and the threads that look after them.
///
/// Rows are scored in the background from the moment they are handed over.
final class WorkerPool: @unchecked Sendable {
    private struct Shared {
        var board: WorkerBoard
        var isClosing = false
        /// What the first seat is asked to do between calls.
        var errand: Errand?
    }

    private struct Errand: @unchecked Sendable {
        let body: (WorkerSeat) -> Void
    }

    private let shared: Guarded<Shared>
    private let log: ComponentLog
    private let setup: WorkerSetup
    private let options: WorkerOptions
    private let stamp: WorkerStamp
    private let wakes: [Int32]
    /// Readable when a call or an errand is done.
    private let finished: Int32
    private var threads: [pthread_t] = []

    /// Starts the threads; their processes start when they are needed.
    ///
    /// - Throws: `KeelError` (io) when the system refuses.
    init(_ setup: WorkerSetup, options: WorkerOptions) throws {
        self.setup = setup
        var options = options
        if setup.component.hasCallback("save") { options.workers = 1 }
        options.workers = max(1, options.workers)
        self.options = options
        log = ComponentLog(name: setup.name)
        stamp = WorkerStamp(setup.component.path)
        shared = Guarded(
            Shared(
                board: WorkerBoard(
                    title: setup.title, component: setup.component, options: options)))
        wakes = (0..<options.workers).map { _ in kw_event() }
        finished = kw_event()
        guard finished >= 0, wakes.allSatisfy({ $0 >= 0 }) else {
            for descriptor in wakes + [finished] where descriptor >= 0 { Glibc.close(descriptor) }
            throw Files.error("cannot make an event", setup.title)
        }
        for index in 0..<options.workers { try startThread(index) }
    }

    /// Ends the workers and the threads; a second call does nothing.
    func close() {
        let isFirst = shared.withLock { shared in
            defer { shared.isClosing = true }
            return !shared.isClosing
        }
        guard isFirst else { return }
        for wake in wakes { WorkerPool.ring(wake) }
        for thread in threads { pthread_join(thread, nil) }
        threads = []
        for descriptor in wakes + [finished] { Glibc.close(descriptor) }
    }

    private static func ring(_ event: Int32) {
        var one: UInt64 = 1
        _ = write(event, &one, 8)
    }

    // MARK: - The loop's side

    func submit(_ rows: [RewardRow], context: CallContext) {
        shared.withLock { $0.board.submit(rows, context: context) }
        wakeAll()
    }

    /// Waits for the scores of everything submitted.
    func collect() throws -> (
        scores: [RewardScore], metrics: MetricSums, columns: [String: Column]
    ) {
        shared.withLock { $0.board.close() }
        wakeAll()
        wait { $0.board.isComplete }
        let result = shared.withLock { shared in Result { try shared.board.collect() } }
        // Whoever still works for a collection that has failed is called off.
        if case .failure = result { wakeAll() }
        return try result.get()
    }

    func takeReport() -> RewardReport { shared.withLock { $0.board.takeReport() } }

    func noteSkipped() { shared.withLock { $0.board.noteSkipped() } }

    /// Lets the first seat do something between calls, and waits for it.
    func perform<T>(_ body: @escaping (WorkerSeat) throws -> T) throws -> T {
        let box = Box<T>()
        let errand = Errand { seat in box.result = Result { try body(seat) } }
        shared.withLock { $0.errand = errand }
        WorkerPool.ring(wakes[0])
        wait { $0.errand == nil }
        guard let result = box.result else {
            throw KeelError("plugin", "\(setup.title): no answer", code: .internalBug)
        }
        return try result.get()
    }

    /// Written by the seat's thread before the errand is taken away under the lock, read after that.
    private final class Box<T>: @unchecked Sendable {
        var result: Result<T, any Error>?
    }

    private func wakeAll() {
        for wake in wakes { WorkerPool.ring(wake) }
    }

    private func wait(until isDone: (inout Shared) -> Bool) {
        while !shared.withLock({ isDone(&$0) }) {
            var event = pollfd(fd: finished, events: Int16(POLLIN), revents: 0)
            poll(&event, 1, -1)
            var count: UInt64 = 0
            _ = read(finished, &count, 8)
        }
    }

    // MARK: - The threads

    private final class Start {
        let pool: WorkerPool
        let index: Int

        init(pool: WorkerPool, index: Int) {
            self.pool = pool
            self.index = index
        }
    }

    private func startThread(_ index: Int) throws {
        let start = Unmanaged.passRetained(Start(pool: self, index: index))
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { raw in
                guard let raw else { return nil }
                let start = Unmanaged<Start>.fromOpaque(raw).takeRetainedValue()
                start.pool.run(start.index)
                return nil
            }, start.toOpaque())
        guard status == 0 else {
            start.release()
            close()
            throw KeelError(
                "plugin", "cannot start a thread for \(setup.title)", fix: "set \"workers\" lower",
                code: .io)
        }
        threads.append(thread)
    }

    private enum Step {
        case leave
        case errand(Errand)
        case work(WorkerBoard.Work)
        case sleep
    }

    private func run(_ index: Int) {
        let seat = WorkerSeat(
            setup, options: options, log: log, stamp: stamp, wake: wakes[index])
        while true {
            switch next(index) {
            case .leave:
                seat.leave()
                return
            case .errand(let errand):
                errand.body(seat)
                shared.withLock { $0.errand = nil }
                settle(seat)
            case .work(let work):
                score(work, seat)
                settle(seat)
            case .sleep: seat.sleep()
            }
        }
    }

    private func next(_ index: Int) -> Step {
        shared.withLock { shared in
            if shared.isClosing { return .leave }
            if index == 0, let errand = shared.errand { return .errand(errand) }
            if let work = shared.board.next() { return .work(work) }
            return .sleep
        }
    }

    private func settle(_ seat: WorkerSeat) {
        let restarts = seat.restarts
        seat.restarts = 0
        if restarts > 0 { shared.withLock { $0.board.noteRestarts(restarts) } }
        // What a failure has put back is for all.
        if shared.withLock({ $0.board.hasWork }) { wakeAll() }
        WorkerPool.ring(finished)
    }

    private func score(_ work: WorkerBoard.Work, _ seat: WorkerSeat) {
        let generation = work.generation
        let isInterrupted = { [shared = self] in
            shared.shared.withLock {
                $0.isClosing || $0.board.generation != generation || $0.board.error != nil
            }
        }
        var lines: [String] = []
        do {
            let yield = try seat.score(work, isInterrupted: isInterrupted)
            shared.withLock { $0.board.finish(work, yield) { lines.append($0) } }
        } catch let failure as WorkerFailure {
            shared.withLock { $0.board.fail(work, failure) { lines.append($0) } }
        } catch {
            shared.withLock { $0.board.failedStart(work, error) }
        }
        for line in lines { log.write(level: 2, line) }
    }
}

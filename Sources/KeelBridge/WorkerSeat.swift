import CWorker
import Glibc
import KeelCore

/// One place of a reward's pool: a thread of the host and the worker that it looks after.
final class WorkerSeat {
    let setup: WorkerSetup
    let options: WorkerOptions
    private let log: ComponentLog
    private let stamp: WorkerStamp
    /// Readable when there is something to look at.
    let wake: Int32
    private var process: WorkerProcess?
    /// Score calls of the present process.
    private var calls = 0
    private var hasFailed = false
    /// Columns that `create` asked for.
    private(set) var needs: [String] = []
    /// Of a component with state: what a fresh process begins with.
    private var state: Instance.State?
    /// The state is longer than is kept after every batch: its length.
    private var tooLong: Int?
    /// Processes that took the place of one that had failed.
    var restarts = 0

    /// Seconds that loading a plugin and `create` may take at least.
    private static let shortestStart = 10.0
    /// The longest state that is kept after every batch.
    static let longestState = 1 << 20

    init(
        _ setup: WorkerSetup, options: WorkerOptions, log: ComponentLog, stamp: WorkerStamp,
        wake: Int32
    ) {
        self.setup = setup
        self.options = options
        self.log = log
        self.stamp = stamp
        self.wake = wake
    }

    /// Lets the process go, as it came.
    func leave() {
        process?.quit()
        process = nil
    }

    func watch(
        _ seconds: Double, context: CallContext = CallContext(),
        isInterrupted: @escaping () -> Bool = { false }
    ) -> WorkerProcess.Watch {
        WorkerProcess.Watch(
            deadline: Clock.now() + seconds, allowed: seconds, wake: wake,
            isInterrupted: isInterrupted, isCancelled: context.isCancelled)
    }

    // MARK: - Start and state

    /// A process with an instance of the component in it.
    ///
    /// - Parameter isFresh: it must not have scored anything.
    /// - Throws: `KeelError` when it cannot be had.
    @discardableResult
    func start(isFresh: Bool = false, context: CallContext = CallContext()) throws -> WorkerProcess
    {
        if let process, !(isFresh && calls > 0) { return process }
        leave()
        try stamp.check(setup)
        if let tooLong {
            throw KeelError(
                "plugin",
                "\(setup.title): its worker failed, and its state of \(tooLong) bytes is too long to be kept after every batch",
                at: setup.component.path, fix: "resume from the last checkpoint", code: .failed)
        }
        let limit = options.maxRSSMegabytes.map { $0 << 20 } ?? WorkerSeat.halfOfMemory
        let log = log
        let fresh = try WorkerProcess(memoryLimit: limit) { log.write(level: $0, $1) }
        let seconds = max(options.timeout, WorkerSeat.shortestStart)
        do throws(WorkerFailure) {
            needs = try setup.start(fresh, context: context, watch: watch(seconds))
        } catch {
            throw explain(error, "create", code: .config)
        }
        if let state { try load(state, into: fresh, context: context) }
        if hasFailed { restarts += 1 }
        (hasFailed, calls) = (false, 0)
        process = fresh
        return fresh
    }

    /// Half of what the machine has.
    private static var halfOfMemory: Int {
        sysconf(Int32(_SC_PHYS_PAGES)) / 2 * sysconf(Int32(_SC_PAGESIZE))
    }

    private func load(
        _ state: Instance.State, into process: WorkerProcess, context: CallContext
    ) throws {
        do throws(WorkerFailure) {
            let reply = try process.ask(Int(KW_LOAD), watch: watch(options.timeout)) {
                try $0.word(UInt64(state.version))
                try $0.text(state.bytes)
                try $0.context(context)
            }
            try setup.check(reply)
        } catch {
            throw explain(error, "load", code: .failed)
        }
    }

    /// Begins anew with a state.
    func restore(_ state: Instance.State) throws {
        leave()
        self.state = state
        tooLong = nil
        do {
            try start()
        } catch {
            self.state = nil
            throw error
        }
    }

    /// The state as it is now.
    func save(context: CallContext) throws -> Instance.State {
        if let state { return state }
        let process = try start(context: context)
        let saved = try ask(process, limit: .max, context: context)
        return whole(saved.state ?? [])
    }

    private func ask(
        _ process: WorkerProcess, limit: UInt64, context: CallContext
    ) throws -> WorkerReply {
        do throws(WorkerFailure) {
            let reply = try process.ask(Int(KW_SAVE), watch: watch(options.timeout)) {
                try $0.word(limit)
                try $0.context(context)
            }
            try setup.check(reply)
            return reply
        } catch {
            drop()
            throw explain(error, "save", code: .failed)
        }
    }

    /// Keeps the state after a batch.
    ///
    /// - Throws: `KeelError`; the worker is gone then, and the state is still that before the batch, so that the
    ///   batch can be made once more as if nothing had been.
    func keepState(_ process: WorkerProcess, context: CallContext) throws {
        guard setup.component.hasCallback("save"), tooLong == nil else { return }
        let reply = try ask(process, limit: UInt64(WorkerSeat.longestState), context: context)
        state = reply.state.map { whole($0) }
        if state == nil { tooLong = reply.stateLength ?? 0 }
    }

    private func whole(_ bytes: [UInt8]) -> Instance.State {
        Instance.State(version: setup.component.stateVersion, bytes: bytes)
    }

    /// Lets the process go for a fresh one, which goes on with its state however long that is.
    private func recycle(context: CallContext) throws {
        if tooLong != nil {
            state = try save(context: context)
            tooLong = nil
        }
        leave()
    }

    /// The process has failed: the next one is a restart.
    func drop() {
        process = nil
        hasFailed = true
    }

    private func explain(_ failure: WorkerFailure, _ stage: String, code: ExitCode) -> KeelError {
        let what: String
        if failure.isHarmless {
            what = "\(setup.title): \(failure.report)"
        } else {
            what = "\(setup.title): \(stage): \(failure.report)"
        }
        return KeelError(
            "plugin", what, at: "\(setup.component.path), \(stage)",
            fix: failure.fix(for: setup.component), code: code)
    }

    // MARK: - Calls

    /// Makes a call.
    ///
    /// - Throws: `WorkerFailure`, and `KeelError` when there is no process to make it or the state is lost.
    func score(
        _ work: WorkerBoard.Work, isInterrupted: @escaping () -> Bool
    ) throws -> WorkerBoard.Yield {
        let process = try start(isFresh: work.piece.stage == .again, context: work.context)
        let count = work.rows.count
        let begin = Clock.now()
        let reply = try call(
            process, Int(KW_SCORE), work.rows, outputSize: count * 4, context: work.context,
            isInterrupted: isInterrupted)
        let seconds = Clock.now() - begin
        let scores = process.scores(count)
        try keepState(process, context: work.context)
        calls += 1
        if let most = options.recycleAfter, calls >= most {
            try recycle(context: work.context)
        }
        let each = seconds * 1000 / Double(max(1, count))
        return WorkerBoard.Yield(
            scores: scores,
            milliseconds: reply.milliseconds.count == count
                ? reply.milliseconds : [Double](repeating: each, count: count),
            seconds: seconds, metrics: reply.metrics, columns: reply.columns)
    }

    private func call(
        _ process: WorkerProcess, _ callback: Int, _ rows: [RewardRow], outputSize: Int,
        context: CallContext, isInterrupted: @escaping () -> Bool
    ) throws(WorkerFailure) -> WorkerReply {
        do throws(WorkerFailure) {
            let reply = try process.ask(
                Int(KW_CALL), callback: callback, outputSize: outputSize,
                watch: watch(options.timeout, context: context, isInterrupted: isInterrupted)
            ) {
                try $0.context(context)
                try $0.batch(rewarding: rows)
            }
            try setup.check(reply, extraNeeds: needs)
            return reply
        } catch {
            var failure = error
            if failure.isHarmless {
                process.blame(&failure)
                // What a failed call has done to a state, nobody knows.
                if setup.component.hasCallback("save") {
                    process.quit()
                    drop()
                }
            } else {
                drop()
            }
            throw failure
        }
    }

    /// The questions of rows for a judge, and the metrics that came with them.
    ///
    /// - Parameter guilty: what becomes of a row whose question cannot be had.
    func ask(
        _ rows: ArraySlice<RewardRow>, context: CallContext, isSecond: Bool = false,
        guilty: (RewardRow, WorkerFailure) throws -> Void
    ) throws -> (questions: [[UInt8]?], metrics: MetricSums) {
        let process = try start(context: context)
        do throws(WorkerFailure) {
            let reply = try call(
                process, Int(KW_ASK), Array(rows), outputSize: 0, context: context,
                isInterrupted: { false })
            var metrics = MetricSums()
            for metric in reply.metrics { metrics.add(metric.name, metric.value, metric.how) }
            return (reply.questions, metrics)
        } catch {
            if !isSecond, !error.isHarmless {
                return try ask(rows, context: context, isSecond: true, guilty: guilty)
            }
            if rows.count == 1, let row = rows.first {
                try guilty(row, error)
                return ([nil], MetricSums())
            }
            let half = rows.startIndex + rows.count / 2
            var all = try ask(rows[..<half], context: context, isSecond: true, guilty: guilty)
            let rest = try ask(rows[half...], context: context, isSecond: true, guilty: guilty)
            all.questions += rest.questions
            all.metrics.merge(rest.metrics)
            return all
        }
    }

    /// Sleeps until there is something to look at; what the worker prints meanwhile is read.
    func sleep() {
        let watched = [wake] + (process?.outputs ?? [])
        var polls = watched.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        poll(&polls, nfds_t(polls.count), -1)
        var count: UInt64 = 0
        _ = read(wake, &count, 8)
        process?.drain()
    }
}

/// A plugin file as it was when the run began.
struct WorkerStamp: Sendable {
    private let size: Int?
    private let modified: Int64?

    init(_ path: String) {
        size = Files.size(path)
        modified = Files.modified(path)
    }

    /// Refuses a file that has changed: a fresh worker would run other code than the one before.
    ///
    /// - Throws: `KeelError` (failed).
    func check(_ setup: WorkerSetup) throws {
        let path = setup.component.path
        guard Files.size(path) != size || Files.modified(path) != modified else { return }
        guard let bytes = try? Files.read(path), SHA256.hex(bytes) == setup.component.sha256 else {
            throw KeelError(
                "plugin", "\(setup.title): its file has changed since the run began", at: path,
                fix: "leave plugin files alone while they are used, or resume with the new one",
                code: .failed)
        }
    }
}

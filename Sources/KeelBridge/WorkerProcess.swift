import CWorker
import Glibc
import KeelCore

/// One `keel-worker`: started, asked, watched, killed.
///
/// Belongs to the thread that made it, which must live as long as the process: the system ends the
/// worker when that thread is gone.
final class WorkerProcess {
    /// What watches a call while it runs.
    struct Watch {
        /// On the monotonic clock.
        var deadline: Double
        /// Seconds that the deadline allowed, for messages.
        var allowed: Double
        /// Readable when the call is to be looked at again; -1 = never.
        var wake: Int32 = -1
        var isInterrupted: () -> Bool = { false }
        var isCancelled: () -> Bool = { false }

        static func seconds(_ seconds: Double) -> Watch {
            Watch(deadline: Clock.now() + seconds, allowed: seconds)
        }
    }

    let id: pid_t
    /// Calls that were answered.
    private(set) var calls = 0
    private let memory: WorkerMemory
    private let socket: Int32
    private let ended: Int32
    private var out: WorkerOutput
    private var err: WorkerOutput
    private let log: (_ level: Int, _ text: String) -> Void
    private let memoryLimit: Int
    private var received: [UInt8] = []
    /// How the process ended; nil = it runs, as far as is known.
    private var status: Int32?

    /// Seconds between looks at memory and cancellation.
    private static let tick = 0.02

    /// Starts a process.
    ///
    /// - Parameters:
    ///   - memoryLimit: bytes of memory it may hold; 0 = any.
    ///   - log: gets the plugin's log lines and what it prints.
    /// - Throws: `KeelError` when the system refuses.
    init(
        memoryLimit: Int = 0, log: @escaping (_ level: Int, _ text: String) -> Void = { _, _ in }
    ) throws {
        let program = try WorkerProgram.path()
        memory = try WorkerMemory()
        self.log = log
        self.memoryLimit = memoryLimit
        var all: [Int32] = []
        /// A descriptor out of the way of those that the worker gets.
        func keep(_ descriptor: Int32) throws -> Int32 {
            let moved = descriptor < 0 ? -1 : fcntl(descriptor, F_DUPFD_CLOEXEC, 64)
            let number = errno
            if descriptor >= 0 { close(descriptor) }
            errno = number
            guard moved >= 0 else { throw Files.error("cannot start a worker", program) }
            all.append(moved)
            return moved
        }
        do {
            var pair: [Int32] = [-1, -1]
            let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            _ = socketpair(AF_UNIX, kind, 0, &pair)
            let (here, there) = (try keep(pair[0]), try keep(pair[1]))
            let shared = try keep(fcntl(memory.descriptor, F_DUPFD_CLOEXEC, 64))
            var pipes: [(Int32, Int32)] = []
            for _ in 0..<2 {
                var ends: [Int32] = [-1, -1]
                _ = kw_pipe(&ends)
                pipes.append((try keep(ends[0]), try keep(ends[1])))
            }
            id = try WorkerProcess.spawn(
                program, [there, shared, pipes[0].1, pipes[1].1])
            for descriptor in [there, shared, pipes[0].1, pipes[1].1] { close(descriptor) }
            socket = here
            out = WorkerOutput(descriptor: pipes[0].0)
            err = WorkerOutput(descriptor: pipes[1].0)
            ended = kw_process_descriptor(id)
        } catch {
            for descriptor in all { close(descriptor) }
            throw error
        }
    }

    deinit {
        end()
        for descriptor in [socket, out.descriptor, err.descriptor] { close(descriptor) }
        if ended >= 0 { close(ended) }
    }

    /// - Parameter descriptors: socket, memory, stdout and stderr of the worker.
    private static func spawn(_ program: String, _ descriptors: [Int32]) throws -> pid_t {
        var variables = WorkerProgram.environment().map { strdup($0) } + [nil]
        defer { for text in variables { free(text) } }
        var child = pid_t()
        let status = kw_spawn(program, descriptors, &variables, &child)
        guard status == 0 else {
            errno = status
            throw Files.error("cannot start a worker", program)
        }
        return child
    }

    // MARK: - Requests

    /// Asks for something and waits for the answer.
    ///
    /// - Parameters:
    ///   - outputSize: bytes that the callback may write; every four of them are KW_UNWRITTEN before.
    ///   - write: writes what belongs to the request.
    /// - Throws: `WorkerFailure`; the process is gone, unless the cause is `reported`.
    func ask(
        _ operation: Int, callback: Int = 0, outputSize: Int = 0, watch: Watch,
        write: (inout WorkerWriter) throws -> Void
    ) throws(WorkerFailure) -> WorkerReply {
        var request = kw_request()
        do {
            try memory.prepareOutput(outputSize)
            let words = outputSize / 4
            memory.results.bindMemory(to: UInt32.self, capacity: words).update(
                repeating: KW_UNWRITTEN, count: words)
            var writer = WorkerWriter(memory)
            try write(&writer)
            request.input_size = UInt64(writer.size)
        } catch {
            throw fail(.nonsense("\(error)"))
        }
        request.op = UInt32(operation)
        request.callback = UInt32(callback)
        request.output_cap = UInt64(memory.outputCapacity)
        request.input_cap = UInt64(memory.inputCapacity)
        request.output_size = UInt64(outputSize)
        received.removeAll(keepingCapacity: true)
        send(&request)
        let reply = try answer(watch)
        guard memory.isGuardIntact else { throw fail(.wroteOutside) }
        calls += 1
        return reply
    }

    /// The scores of the last call, as the plugin wrote them.
    func scores(_ count: Int) -> [Float] {
        let words = UnsafeRawBufferPointer(start: memory.results, count: count * 4)
        return (0..<count).map {
            let bits = words.load(fromByteOffset: $0 * 4, as: UInt32.self)
            return bits == KW_UNWRITTEN ? .nan : Float(bitPattern: bits)
        }
    }

    /// The row numbers of the last call.
    func numbers(_ count: Int) -> [Int64] {
        let words = UnsafeRawBufferPointer(start: memory.results, count: count * 8)
        return (0..<count).map { words.load(fromByteOffset: $0 * 8, as: Int64.self) }
    }

    /// Lets the process end by itself for a moment, then ends it.
    func quit() {
        if status == nil {
            var request = kw_request()
            request.op = UInt32(KW_QUIT)
            send(&request)
            var wait = pollfd(fd: ended, events: Int16(POLLIN), revents: 0)
            if ended >= 0 { poll(&wait, 1, 1000) }
        }
        end()
    }

    /// A process that is gone shows when it is listened to.
    private func send(_ request: inout kw_request) {
        withUnsafeBytes(of: &request) { bytes in
            _ = Glibc.send(socket, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
        }
    }

    private func answer(_ watch: Watch) throws(WorkerFailure) -> WorkerReply {
        var nextLook = Clock.now() + WorkerProcess.tick
        while true {
            let now = Clock.now()
            guard now < watch.deadline else { throw fail(.timedOut(watch.allowed)) }
            let events = wait(until: min(watch.deadline, nextLook), watch.wake)
            if events.hasInput {
                if let reply = try receive() { return reply }
            }
            if events.hasOutput { drain() }
            if events.hasEnded { throw lost() }
            if events.isWoken {
                var count: UInt64 = 0
                _ = read(watch.wake, &count, 8)
            }
            if watch.isInterrupted() { throw fail(.interrupted) }
            guard Clock.now() >= nextLook else { continue }
            nextLook = Clock.now() + WorkerProcess.tick
            if !memory.isCancelled, watch.isCancelled() { memory.isCancelled = true }
            try checkMemory()
        }
    }

    private struct Events {
        var hasInput: Bool
        var hasOutput: Bool
        var hasEnded: Bool
        var isWoken: Bool
    }

    private func wait(until time: Double, _ wake: Int32) -> Events {
        let watched = [
            socket, out.isClosed ? -1 : out.descriptor, err.isClosed ? -1 : err.descriptor, ended,
            wake,
        ]
        var polls = watched.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        let milliseconds = max(0, ((time - Clock.now()) * 1000).rounded(.up))
        poll(&polls, nfds_t(polls.count), Int32(milliseconds))
        let isReady = polls.map { $0.revents != 0 }
        // What was sent before the end is read first.
        return Events(
            hasInput: isReady[0], hasOutput: isReady[1] || isReady[2],
            hasEnded: isReady[3] && !isReady[0], isWoken: isReady[4])
    }

    /// Reads what has come; the answer when it is complete.
    private func receive() throws(WorkerFailure) -> WorkerReply? {
        var problem: Int32 = 0
        let block = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
            let got = recv(socket, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
            problem = got < 0 ? errno : 0
            count = max(0, got)
        }
        guard !block.isEmpty else {
            if problem == EINTR || problem == EAGAIN { return nil }
            throw lost()
        }
        received += block
        let headSize = MemoryLayout<kw_frame>.size
        while received.count >= headSize {
            let head = received.withUnsafeBytes { $0.loadUnaligned(as: kw_frame.self) }
            guard let length = Int(exactly: head.length), length <= 1 << 32 else {
                throw fail(.nonsense("a frame of \(head.length) bytes"))
            }
            guard received.count >= headSize + length else { return nil }
            let body = received[headSize..<headSize + length]
            switch head.type {
            case UInt32(KW_LOG):
                log(Int(head.level), String(decoding: body, as: UTF8.self))
                received.removeFirst(headSize + length)
            case UInt32(KW_DONE):
                return try decode(headSize..<headSize + length)
            default: throw fail(.nonsense("a frame of type \(head.type)"))
            }
        }
        return nil
    }

    private func decode(_ range: Range<Int>) throws(WorkerFailure) -> WorkerReply {
        let decoded = received.withUnsafeBytes {
            (all) -> Result<WorkerReply, WorkerReply.Malformed> in
            Result { () throws(WorkerReply.Malformed) in
                try WorkerReply(UnsafeRawBufferPointer(rebasing: all[range]))
            }
        }
        switch decoded {
        case .success(let reply): return reply
        case .failure(let malformed): throw fail(.nonsense(malformed.what))
        }
    }

    /// Reads what the process has printed; also between calls, where nobody else would.
    func drain() {
        out.drain { log(1, $0) }
        err.drain { log(1, $0) }
    }

    /// Descriptors that become readable when `drain` has something to do.
    var outputs: [Int32] {
        [out.isClosed ? -1 : out.descriptor, err.isClosed ? -1 : err.descriptor]
    }

    private func checkMemory() throws(WorkerFailure) {
        guard memoryLimit > 0, let held = residentBytes, held > memoryLimit else { return }
        throw fail(.tooMuchMemory(held >> 20, memoryLimit >> 20))
    }

    /// What the process holds, shared memory left out.
    private var residentBytes: Int? {
        guard let text = try? Files.readText("/proc/\(id)/statm") else { return nil }
        let pages = text.split(separator: " ").compactMap { Int($0) }
        return pages.count > 2 ? (pages[1] - pages[2]) * Int(sysconf(Int32(_SC_PAGESIZE))) : nil
    }

    // MARK: - The end

    /// The process went away by itself.
    private func lost() -> WorkerFailure {
        // A closed socket may be a moment ahead of the end.
        var wait = pollfd(fd: ended, events: Int16(POLLIN), revents: 0)
        if ended >= 0 { poll(&wait, 1, 200) }
        var info = siginfo_t()
        let isGone =
            waitid(P_PID, id_t(id), &info, WEXITED | WNOHANG | WNOWAIT) == 0
            && info.si_signo != 0
        return fail(isGone ? nil : .nonsense("it closed its connection"))
    }

    /// Ends the process and says what happened; nil = as it ended by itself.
    private func fail(_ cause: WorkerFailure.Cause?) -> WorkerFailure {
        var failure = WorkerFailure(cause: cause ?? .interrupted)
        blame(&failure)
        end()
        if cause == nil, let status {
            let signal = status & 0x7F
            failure.cause = signal == 0 ? .exited((status >> 8) & 0xFF) : .killed(signal: signal)
        }
        out.finish { log(1, $0) }
        err.finish { log(1, $0) }
        failure.lastLines = err.lastLines.isEmpty ? out.lastLines : err.lastLines
        return failure
    }

    /// Says how far the present call has come.
    func blame(_ failure: inout WorkerFailure) {
        let words = memory.outputSize / 4
        failure.unwritten = (0..<words).filter {
            memory.results.load(fromByteOffset: $0 * 4, as: UInt32.self) == KW_UNWRITTEN
        }
        failure.touched = memory.touched.flatMap { $0 < words ? $0 : nil }
    }

    /// Kills the process with all that it has started, and takes its leave.
    private func end() {
        guard status == nil else { return }
        kill(-id, SIGKILL)
        kill(id, SIGKILL)
        var result: Int32 = 0
        while waitpid(id, &result, 0) < 0, errno == EINTR {}
        status = result
    }
}

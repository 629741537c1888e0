import Glibc
import KeelCore

/// A process that runs one test: its own group, its output in files, watched from outside.
struct TestProcess {
    /// How it ended.
    enum Ending: Sendable, Equatable {
        case exited(Int32)
        case killed(signal: Int32)
        case timedOut
        case tooLarge
    }

    let pid: pid_t
    let started: Double
    private let timeout: Double
    private let maxBytes: Int
    private let answer: Int32
    private let output: Int32
    private var nextLook: Double
    private var hasBegun = false

    /// Where the process writes its answer.
    static let answerDescriptor: Int32 = 3

    /// - Throws: `KeelError` (io) when it cannot be started.
    init(_ command: [String], timeout: Double, maxBytes: Int) throws {
        answer = try TestProcess.scratch()
        output = try TestProcess.scratch()
        self.timeout = timeout
        self.maxBytes = maxBytes
        started = Clock.now()
        nextLook = started
        pid = try TestProcess.spawn(command, answer: answer, output: output)
    }

    /// A file without a name.
    private static func scratch() throws -> Int32 {
        var name = Array("\(Files.environment("TMPDIR") ?? "/tmp")/keel-check-XXXXXX".utf8CString)
        let file = mkstemp(&name)
        guard file >= 0 else { throw Files.error("cannot make a temporary file", "/tmp") }
        unlink(name)
        _ = fcntl(file, F_SETFD, FD_CLOEXEC)
        return file
    }

    private static func spawn(
        _ command: [String], answer: Int32, output: Int32
    ) throws -> pid_t {
        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) }
        arguments.append(nil)
        defer { for argument in arguments { free(argument) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, output, 2)
        posix_spawn_file_actions_adddup2(&actions, answer, answerDescriptor)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        posix_spawnattr_setpgroup(&attributes, 0)
        // The runtime's own report of a trap is one line; a backtrace would bury it.
        var variables = ProcessState.variables().filter { !$0.hasPrefix("SWIFT_BACKTRACE=") }
        variables.append("SWIFT_BACKTRACE=enable=no")
        var environment: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) }
        environment.append(nil)
        defer { for variable in environment { free(variable) } }
        var child = pid_t()
        let status = posix_spawn(&child, command[0], &actions, &attributes, arguments, environment)
        guard status == 0 else {
            errno = status
            close(answer)
            close(output)
            throw Files.error("cannot start the test process", command[0])
        }
        return child
    }

    /// Looks whether it has ended; ends it when it takes too long or too much.
    mutating func poll() -> Ending? {
        var status: Int32 = 0
        let found = waitpid(pid, &status, WNOHANG)
        if found == pid {
            kill(-pid, SIGKILL)  // what it has left behind
            let signal = status & 0x7F
            return signal == 0 ? .exited((status >> 8) & 0xFF) : .killed(signal: signal)
        }
        let now = Clock.now()
        guard now >= nextLook else { return nil }
        nextLook = now + 0.01
        if now - started > timeout { return end(.timedOut) }
        // Between the start and its own program, what it holds is still what this process holds.
        hasBegun = hasBegun || TestProcess.commandLine("\(pid)") != TestProcess.commandLine("self")
        if hasBegun, residentBytes > maxBytes { return end(.tooLarge) }
        return nil
    }

    /// Kills it and all it has started.
    func end(_ ending: Ending) -> Ending {
        kill(-pid, SIGKILL)
        kill(pid, SIGKILL)
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        return ending
    }

    private static func commandLine(_ process: String) -> [UInt8]? {
        try? Files.read("/proc/\(process)/cmdline")
    }

    private var residentBytes: Int {
        guard let text = try? Files.readText("/proc/\(pid)/statm") else { return 0 }
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }

    /// What it wrote: the answer, and its output; both files are closed.
    func collect() -> (answer: String, output: String) {
        defer {
            close(answer)
            close(output)
        }
        return (TestProcess.text(answer, 4 << 20), TestProcess.text(output, 64 << 10))
    }

    private static func text(_ file: Int32, _ limit: Int) -> String {
        let size = min(Int(lseek(file, 0, SEEK_END)), limit)
        guard size > 0 else { return "" }
        var bytes = [UInt8](repeating: 0, count: size)
        // The end matters most: the answer's last line, the last words on stderr.
        let total = Int(lseek(file, 0, SEEK_END))
        let count = bytes.withUnsafeMutableBytes {
            pread(file, $0.baseAddress, size, off_t(max(0, total - size)))
        }
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }

    /// `killed by signal 11 (segmentation fault)`.
    static func words(_ ending: Ending, timeout: Double, maxBytes: Int) -> String {
        switch ending {
        case .exited(let code): "the process left with status \(code)"
        case .killed(let signal): "killed by signal \(signal) (\(name(of: signal)))"
        case .timedOut: "no answer within \(Parameter.text(timeout)) s"
        case .tooLarge: "it took more than \(maxBytes >> 20) MiB of memory"
        }
    }

    private static func name(of signal: Int32) -> String {
        switch signal {
        case SIGSEGV: "segmentation fault"
        case SIGABRT: "aborted"
        case SIGILL: "illegal instruction: a trap of Swift ends so"
        case SIGTRAP: "trap"
        case SIGFPE: "division by 0 or another arithmetic fault"
        case SIGBUS: "access to memory that is not there"
        case SIGKILL: "killed"
        case SIGXCPU: "too much processor time"
        case SIGXFSZ: "too much output"
        default: strsignal(signal).map { String(cString: $0).lowercased() } ?? "unknown"
        }
    }

    // MARK: - The other side

    /// Limits for the process that this is called in.
    static func limitSelf(timeout: Double) {
        let seconds = rlim_t(max(1, timeout.rounded(.up)) + 2)
        for (resource, most) in [
            (RLIMIT_CORE, 0), (RLIMIT_NOFILE, 1024),
            (RLIMIT_FSIZE, rlim_t(64 << 20)), (RLIMIT_CPU, 4 * seconds),
        ] {
            var limit = rlimit(rlim_cur: most, rlim_max: most)
            setrlimit(__rlimit_resource_t(resource.rawValue), &limit)
        }
        alarm(UInt32(seconds))  // in case nobody watches any more
    }
}

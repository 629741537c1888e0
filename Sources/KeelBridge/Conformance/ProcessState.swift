import Glibc
import KeelCore

/// What a plugin may leave behind in its process.
struct ProcessState {
    var threads: Int
    var descriptors: [String]
    var hasChildren: Bool
    /// Bytes on standard output and error, which are files here.
    var output: Int
    var handlers: [Int32]
    var folder: String
    var environment: [String]

    static func now() -> ProcessState {
        fflush(nil)
        var handlers: [Int32] = []
        for signal in [SIGINT, SIGTERM, SIGSEGV, SIGALRM, SIGCHLD, SIGPIPE, SIGFPE, SIGUSR1] {
            var action = sigaction()
            sigaction(signal, nil, &action)
            if action.__sigaction_handler.sa_handler != nil { handlers.append(signal) }
        }
        var status: Int32 = 0
        let files = ((try? Files.list("/proc/self/fd")) ?? []).sorted()
        return ProcessState(
            threads: ((try? Files.list("/proc/self/task")) ?? []).count,
            descriptors: files.filter { fcntl(Int32($0) ?? -1, F_GETFD) >= 0 },
            hasChildren: waitpid(-1, &status, WNOHANG) == 0,
            output: [1, 2].map { Int(lseek(Int32($0), 0, SEEK_CUR)) }.reduce(0, +),
            handlers: handlers, folder: Files.currentDirectory, environment: variables())
    }

    static func variables() -> [String] {
        var out: [String] = []
        var at = 0
        while let entry = environ[at] {
            out.append(String(cString: entry))
            at += 1
        }
        return out.sorted()
    }

    /// What was added, in words that follow "it"; nil when nothing was.
    func difference(from before: ProcessState, atLoad: Bool) -> String? {
        if atLoad, output != before.output { return "writes to standard output or error" }
        if threads > before.threads {
            return "leaves \(threads - before.threads) thread(s) running"
        }
        if descriptors.count > before.descriptors.count {
            return "leaves \(descriptors.count - before.descriptors.count) file(s) open"
        }
        if hasChildren { return "leaves a process running" }
        if handlers != before.handlers { return "installs a signal handler" }
        if folder != before.folder { return "changes the current folder" }
        if environment != before.environment { return "changes the environment" }
        return nil
    }

    /// Resident memory in bytes.
    static func residentBytes() -> Int {
        guard let text = try? Files.readText("/proc/self/statm") else { return 0 }
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }
}

import Glibc
import KeelCore

/// Runs another program and waits for it.
package enum Subprocess {
    /// The path of a program, as a shell finds it; nil when there is none.
    package static func find(_ name: String) -> String? {
        if name.contains("/") { return access(name, X_OK) == 0 ? name : nil }
        for folder in (Files.environment("PATH") ?? "/usr/bin:/bin").split(separator: ":") {
            let path = Files.join(String(folder), name)
            if Files.isRegular(path), access(path, X_OK) == 0 { return path }
        }
        return nil
    }

    /// Runs a program with this process's environment; what it prints goes to stderr.
    ///
    /// - Returns: its exit status; 128 + n when signal n ended it.
    /// - Throws: `KeelError` (io) when it cannot be started.
    package static func run(_ command: [String]) throws -> Int32 {
        guard let program = command.first else { return 0 }
        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) }
        arguments.append(nil)
        defer { for argument in arguments { free(argument) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, 2, 1)
        var child = pid_t()
        let status = posix_spawnp(&child, program, &actions, nil, arguments, environ)
        guard status == 0 else {
            errno = status
            throw Files.error("cannot run the program", program)
        }
        var result: Int32 = 0
        while waitpid(child, &result, 0) < 0 {
            guard errno == EINTR else { throw Files.error("cannot wait for the program", program) }
        }
        let signal = result & 0x7F
        return signal == 0 ? (result >> 8) & 0xFF : 128 + signal
    }
}

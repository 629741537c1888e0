import Glibc
import KeelCore
import Synchronization

/// What the operating system asks of a run.
///
/// The handlers do nothing but note it; the loop looks.
/// SIGINT and SIGTERM: save and stop; a second one ends the process at once (130, 143). SIGUSR1: save.
/// The flags are the one mutable global of the host: a signal handler has no parameters.
package enum Signals {
    /// Installs the handlers; call once, before the loop.
    package static func install() {
        // Makes sure that the flags exist before a handler can run.
        stopFlag.store(0, ordering: .relaxed)
        saveFlag.store(false, ordering: .relaxed)
        handle(SIGINT) { Signals.stop($0) }
        handle(SIGTERM) { Signals.stop($0) }
        handle(SIGUSR1) { _ in saveFlag.store(true, ordering: .relaxed) }
        // Whoever started this process may have blocked them, and a child inherits that.
        var handled = sigset_t()
        sigemptyset(&handled)
        for number in [SIGINT, SIGTERM, SIGUSR1] { sigaddset(&handled, number) }
        pthread_sigmask(SIG_UNBLOCK, &handled, nil)
        // A closed pipe and a limit on file sizes become errors of the write that meets them.
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
    }

    /// The signal that asked to stop, or nil.
    package static var stopRequest: Int32? {
        let number = stopFlag.load(ordering: .relaxed)
        return number == 0 ? nil : number
    }

    /// The signal that asked to stop since the last call, for those that go on after it.
    package static func takeStopRequest() -> Int32? {
        let number = stopFlag.exchange(0, ordering: .relaxed)
        return number == 0 ? nil : number
    }

    /// Whether a save was asked for since the last call.
    package static func takeSaveRequest() -> Bool {
        saveFlag.exchange(false, ordering: .relaxed)
    }

    /// `SIGINT` and `SIGTERM` by name.
    package static func name(_ number: Int32) -> String {
        number == SIGINT ? "SIGINT" : number == SIGTERM ? "SIGTERM" : "signal \(number)"
    }

    private static func stop(_ number: Int32) {
        if stopFlag.exchange(number, ordering: .relaxed) != 0 { _exit(128 + number) }
    }

    private static func handle(_ number: Int32, _ handler: @escaping @convention(c) (Int32) -> Void)
    {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = handler
        action.sa_flags = SA_RESTART
        sigemptyset(&action.sa_mask)
        sigaction(number, &action, nil)
    }
}

private let stopFlag = Atomic<Int32>(0)
private let saveFlag = Atomic<Bool>(false)

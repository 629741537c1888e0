import Glibc

/// A thread of its own for work that nobody waits for; it ends with its body or with the process.
package enum BackgroundThread {
    /// - Returns: false when the system has no thread to give.
    @discardableResult
    package static func start(_ body: @escaping @Sendable () -> Void) -> Bool {
        let work = Unmanaged.passRetained(Work(body: body))
        var handle = pthread_t()
        let status = pthread_create(
            &handle, nil,
            { raw in
                if let raw { Unmanaged<Work>.fromOpaque(raw).takeRetainedValue().body() }
                return nil
            }, work.toOpaque())
        guard status == 0 else {
            work.release()
            return false
        }
        pthread_detach(handle)
        return true
    }

    private final class Work: Sendable {
        let body: @Sendable () -> Void
        init(body: @escaping @Sendable () -> Void) { self.body = body }
    }
}

import Glibc
import Logging

/// Log lines go to stderr; stdout is for results.
package enum Log {
    /// Installs Keel's handler.
    ///
    /// Call once, before the first line is logged.
    package static func bootstrap(level: Logger.Level) {
        LoggingSystem.bootstrap { _ in StderrHandler(level: level) }
    }

    package static let logger = Logger(label: "keel")

    /// The warnings since they were last taken; nil = nobody keeps them.
    private static let kept = Guarded<[String]?>(nil)

    /// From here on warnings are kept for `takeWarnings`, beside being shown.
    package static func keepWarnings() { kept.withLock { $0 = $0 ?? [] } }

    /// The warnings since the last time, in order.
    package static func takeWarnings() -> [String] {
        kept.withLock { list in
            defer { list = list.map { _ in [] } }
            return list ?? []
        }
    }

    package static func info(_ text: String) { logger.info("\(text)") }
    package static func notice(_ text: String) { logger.notice("\(text)") }
    package static func warning(_ text: String) {
        kept.withLock { $0?.append(text) }
        logger.warning("\(text)")
    }
    package static func debug(_ text: String) { logger.debug("\(text)") }

    /// Writes raw text to stderr in one call.
    package static func stderr(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { Glibc.write(2, $0.baseAddress, $0.count) }
    }
}

/// `warning: text` from warnings up, plain text below.
private struct StderrHandler: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    init(level: Logger.Level) { logLevel = level }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let prefix = event.level >= .warning ? "\(event.level): " : ""
        Log.stderr(prefix + event.message.description + "\n")
    }
}

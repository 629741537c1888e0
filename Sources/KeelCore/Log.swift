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

    package static func info(_ text: String) { logger.info("\(text)") }
    package static func notice(_ text: String) { logger.notice("\(text)") }
    package static func warning(_ text: String) { logger.warning("\(text)") }
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

import Glibc
import KeelCore

/// What a worker prints: line by line into the run's log, and the last lines kept for a report.
struct WorkerOutput {
    /// The reading end of a pipe.
    let descriptor: Int32
    private var unfinished: [UInt8] = []
    private(set) var lastLines: [String] = []
    private(set) var isClosed = false

    private static let longestLine = 400
    private static let keptLines = 6
    /// Bytes read at once; a process that prints without end is read, not believed.
    private static let block = 1 << 16

    init(descriptor: Int32) {
        self.descriptor = descriptor
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    }

    /// Reads what is there.
    mutating func drain(_ log: (String) -> Void) {
        guard !isClosed else { return }
        for _ in 0..<64 {
            let bytes = [UInt8](unsafeUninitializedCapacity: WorkerOutput.block) { buffer, count in
                let got = read(descriptor, buffer.baseAddress, buffer.count)
                count = max(0, got)
                if got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR) { isClosed = true }
            }
            if bytes.isEmpty { return }
            take(bytes, log)
        }
    }

    /// The end: what was printed without a line's end is a line too.
    mutating func finish(_ log: (String) -> Void) {
        drain(log)
        if !unfinished.isEmpty { end(log) }
    }

    private mutating func take(_ bytes: [UInt8], _ log: (String) -> Void) {
        for part in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .enumerated()
        {
            if part.offset > 0 { end(log) }
            unfinished += part.element.prefix(WorkerOutput.longestLine - unfinished.count)
        }
    }

    private mutating func end(_ log: (String) -> Void) {
        let line = String(decoding: unfinished, as: UTF8.self)
        unfinished = []
        guard !line.allSatisfy(\.isWhitespace) else { return }
        lastLines.append(line)
        if lastLines.count > WorkerOutput.keptLines { lastLines.removeFirst() }
        log(line)
    }
}

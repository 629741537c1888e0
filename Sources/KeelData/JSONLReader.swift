import KeelCore

/// The lines of a JSONL file, mapped; blank lines do not count as rows.
package final class JSONLReader: Sendable {
    private let file: MappedFile
    /// Where each row begins; it ends with its line.
    private let starts: [Int]
    /// Line numbers of the rows, from 1; nil where no line is blank.
    private let lines: [Int]?
    /// SHA-256 of the whole file.
    package let contentHash: String

    package var path: String { file.path }
    package var count: Int { starts.count }

    /// - Throws: `KeelError`: noInput for a missing file, badData for one without rows.
    package init(_ path: String) throws {
        guard Files.exists(path) else {
            throw KeelError(
                "data", "the data file does not exist", at: path,
                fix: "check the path", code: .noInput)
        }
        let file = try MappedFile(path)
        self.file = file
        var starts: [Int] = []
        var lines: [Int] = []
        contentHash = withExtendedLifetime(file) {
            let bytes = file.bytes
            // A byte order mark is no part of the first row.
            var start =
                bytes.count >= 3 && bytes[0] == 0xEF && bytes[1] == 0xBB && bytes[2] == 0xBF ? 3 : 0
            var line = 1
            var isBlank = true
            for at in start..<(bytes.count + 1) {
                let isEnd = at == bytes.count || bytes[at] == 0x0A
                if isEnd {
                    if !isBlank {
                        starts.append(start)
                        lines.append(line)
                    }
                    start = at + 1
                    line += 1
                    isBlank = true
                } else if isBlank, bytes[at] != 0x20, bytes[at] != 0x09, bytes[at] != 0x0D {
                    isBlank = false
                }
            }
            return SHA256.hex(bytes)
        }
        guard !starts.isEmpty else {
            throw KeelError(
                "data",
                file.count == 0 ? "the data file is empty" : "the data file has only blank lines",
                at: path,
                fix: "give a file with one JSON object per line", code: .badData)
        }
        self.starts = starts
        self.lines = lines.last == lines.count ? nil : lines
    }

    /// `file:line` of a row.
    package func place(_ row: Int) -> String { "\(path):\(lines?[row] ?? row + 1)" }

    /// The bytes of a row.
    package func bytes(_ row: Int) -> [UInt8] {
        withExtendedLifetime(file) {
            let rest = file.bytes[starts[row]...]
            return Array(rest[..<(rest.firstIndex(of: 0x0A) ?? rest.endIndex)])
        }
    }

    /// The value of a row.
    ///
    /// - Throws: `KeelError` (badData) with the row's line.
    package func json(_ row: Int) throws -> JSON {
        do {
            return try JSON.parse(line: bytes(row), place: place(row))
        } catch let error as KeelError {
            throw KeelError("data", error.what, at: error.at, fix: error.fix, code: .badData)
        }
    }
}

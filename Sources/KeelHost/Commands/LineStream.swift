import Glibc
import KeelCore

/// Lines in, lines out, over file descriptors.
///
/// What was written is handed to the system before a read that may wait, so that a program on the other
/// end can talk line by line, and a pipe of many lines is still fast.
package final class LineStream {
    private let input: Int32
    private let output: Int32
    private var block = [UInt8](repeating: 0, count: 1 << 16)
    private var unread: ArraySlice<UInt8> = []
    private var pending: [UInt8] = []
    private var isAtEnd = false

    /// Standard input and output, unless told otherwise.
    package init(input: Int32 = 0, output: Int32 = 1) {
        self.input = input
        self.output = output
    }

    /// The next line without its end; nil after the last.
    ///
    /// - Throws: `KeelError` (io).
    package func next() throws -> [UInt8]? {
        var line: [UInt8] = []
        while true {
            if let end = unread.firstIndex(of: 0x0A) {
                line += unread[..<end]
                unread = unread[(end + 1)...]
                return line
            }
            line += unread
            unread = []
            if isAtEnd { return line.isEmpty ? nil : line }
            try flush()
            let count = read(input, &block, block.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Files.error("cannot read", "standard input") }
            isAtEnd = count == 0
            unread = block[..<count]
        }
    }

    /// Writes a line; its end is added.
    ///
    /// - Throws: `KeelError` (io).
    package func write(_ line: String) throws {
        pending += Array(line.utf8)
        pending.append(0x0A)
        if pending.count >= 1 << 16 { try flush() }
    }

    /// Writes part of a line, at once.
    ///
    /// - Throws: `KeelError` (io).
    package func show(_ text: String) throws {
        pending += Array(text.utf8)
        try flush()
    }

    /// Hands what was written to the system.
    ///
    /// - Throws: `KeelError` (io).
    package func flush() throws {
        var rest = pending[...]
        pending = []
        while !rest.isEmpty {
            let count = Glibc.write(output, Array(rest), rest.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Files.error("cannot write", "standard output") }
            rest = rest.dropFirst(count)
        }
    }
}

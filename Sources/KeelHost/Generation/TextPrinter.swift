import KeelText

/// Prints completions in the order of their requests, the first one that is not finished as it grows.
///
/// What is printed never has to be taken back: a code point waits until it is whole, and what could become a stop
/// string until it is clear that it does not.
package final class TextPrinter {
    private let tokenizer: Tokenizer
    private let stops: StopStrings
    private let write: (String) throws -> Void
    private var growing: [Int: Growing] = [:]
    private var finished: [Int: String] = [:]
    /// The request whose text is being printed.
    private var next = 0

    private struct Growing {
        var stream: TextStream
        /// Settled, and not printed yet.
        var waiting: [UInt8] = []
        var printed = 0
    }

    /// - Parameter write: takes pieces of text.
    package init(
        _ tokenizer: Tokenizer, _ stops: StopStrings, write: @escaping (String) throws -> Void
    ) {
        self.tokenizer = tokenizer
        self.stops = stops
        self.write = write
    }

    /// A request's next token, which does not end its text.
    ///
    /// - Throws: what decoding and writing throw.
    package func drawn(_ request: Int, _ id: Int32) throws {
        var one = growing[request] ?? Growing(stream: TextStream(tokenizer))
        one.waiting += try one.stream.append(id)
        growing[request] = one
        if request == next { try show() }
    }

    /// A request's whole text.
    ///
    /// - Throws: what writing throws.
    package func finished(_ request: Int, _ text: String) throws {
        finished[request] = text
        while let text = finished.removeValue(forKey: next) {
            let printed = growing.removeValue(forKey: next)?.printed ?? 0
            try write(String(decoding: text.utf8.dropFirst(printed), as: UTF8.self) + "\n")
            next += 1
        }
        try show()
    }

    /// Prints what there is of the text in front.
    private func show() throws {
        guard var one = growing[next] else { return }
        let count = one.waiting.count - stops.openCount(one.waiting)
        guard count > 0 else { return }
        try write(String(decoding: one.waiting[..<count], as: UTF8.self))
        one.waiting.removeFirst(count)
        one.printed += count
        growing[next] = one
    }
}

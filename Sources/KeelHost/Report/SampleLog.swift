import KeelCore

/// The completions that a run wrote down: some of `samples.jsonl`, spread over its steps.
struct SampleLog {
    struct Entry {
        var prompt: String
        var completion: String
        var ending: String?
        var reward: Double?
        /// The rewards by plugin.
        var parts: [(name: String, value: Double?)]
    }

    /// The steps shown, ascending, with their completions.
    private(set) var steps: [(step: Int, entries: [Entry], left: Int)] = []
    /// All steps that have completions.
    private(set) var stepCount = 0
    private(set) var isTorn = false

    /// Reads at most `most` completions of each of `count` steps: the first, the last, and some between.
    ///
    /// - Throws: `KeelError` (io, badData with `file:line`); a missing file has no samples, a torn last line is
    ///   passed over.
    init(_ path: String, steps count: Int = 8, most: Int = 8) throws {
        guard Files.exists(path) else { return }
        let bytes = try Files.read(path)
        var lines: [(step: Int, range: Range<Int>, number: Int)] = []
        var start = 0
        var number = 0
        while start < bytes.count {
            let end = bytes[start...].firstIndex(of: 0x0A) ?? bytes.count
            number += 1
            if let step = try SampleLog.step(
                bytes[start..<end], path, number, isLast: end >= bytes.count - 1)
            {
                lines.append((step, start..<end, number))
            } else if bytes[start..<end].contains(where: { $0 > 0x20 }) {
                isTorn = true
            }
            start = end + 1
        }
        var all: [Int] = []
        for line in lines where all.last != line.step { all.append(line.step) }
        stepCount = all.count
        let shown = SampleLog.spread(all, count)
        var at = 0
        for step in shown {
            while at < lines.count, lines[at].step != step { at += 1 }
            let own = lines[at...].prefix { $0.step == step }
            let entries = try own.prefix(most).map { line in
                SampleLog.entry(
                    try JSON.parse(line: Array(bytes[line.range]), place: "\(path):\(line.number)"))
            }
            steps.append((step, entries, max(0, own.count - most)))
        }
    }

    /// The step that a line begins with, without reading the rest where that can be; nil for a torn last line.
    private static func step(
        _ line: ArraySlice<UInt8>, _ path: String, _ number: Int, isLast: Bool
    ) throws -> Int? {
        let head = Array("{\"step\":".utf8)
        if !isLast, line.starts(with: head), line.last == UInt8(ascii: "}") {
            let digits = line.dropFirst(head.count).prefix { (0x30...0x39).contains($0) }
            if let step = Int(String(decoding: digits, as: UTF8.self)) { return step }
        }
        guard line.contains(where: { $0 > 0x20 }) else { return nil }
        do {
            let value = try JSON.parse(line: Array(line), place: "\(path):\(number)")
            guard let step = value["step"]?.int else {
                throw KeelError(
                    "report", "a line without a \"step\"", at: "\(path):\(number)",
                    fix: "leave samples.jsonl as the run wrote it", code: .badData)
            }
            return step
        } catch let error as KeelError {
            guard isLast else { throw error }
            return nil
        }
    }

    /// First, last, and evenly between.
    static func spread(_ steps: [Int], _ count: Int) -> [Int] {
        guard steps.count > count, count > 1 else { return Array(steps.prefix(max(count, 0))) }
        return (0..<count).map { steps[$0 * (steps.count - 1) / (count - 1)] }
    }

    private static func entry(_ value: JSON) -> Entry {
        let known: Set = [
            "step", "prompt", "completion", "finish_reason", "used", "weighted", "reward",
        ]
        var parts: [(String, Double?)] = []
        for (name, score) in value.object ?? JSONObject() where !known.contains(name) {
            if score.double != nil || score.isNull { parts.append((name, score.double)) }
        }
        return Entry(
            prompt: text(value["prompt"]), completion: text(value["completion"]),
            ending: value["finish_reason"]?.string, reward: value["reward"]?.double, parts: parts)
    }

    /// A text, or messages with their roles.
    private static func text(_ value: JSON?) -> String {
        if let text = value?.string { return text }
        guard let messages = value?.array else { return value?.text() ?? "" }
        return messages.map { message in
            guard let content = message["content"]?.string else { return message.text() }
            return "\(message["role"]?.string ?? "?"): \(content)"
        }.joined(separator: "\n")
    }
}

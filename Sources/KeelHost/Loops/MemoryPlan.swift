import KeelCore

/// What a run will hold in memory at most, item by item, from shapes alone: before anything large is loaded.
package struct MemoryPlan: Sendable {
    /// Bytes under a name.
    package struct Item: Sendable, Equatable {
        package let name: String
        package let bytes: Int
    }

    /// What stays for the whole run.
    package private(set) var lasting: [Item] = []
    /// What comes and goes; one of them is there at a time, and the largest counts.
    package private(set) var passing: [Item] = []
    /// The longest micro-batch: its packed tokens and the step that has it, from 1.
    package var longest: (tokens: Int, step: Int)?

    package init() {}

    /// Adds what stays; nothing is left out.
    package mutating func keep(_ name: String, _ bytes: Int) {
        guard bytes > 0 else { return }
        if let at = lasting.firstIndex(where: { $0.name == name }) {
            lasting[at] = Item(name: name, bytes: lasting[at].bytes + bytes)
        } else {
            lasting.append(Item(name: name, bytes: bytes))
        }
    }

    /// Adds what comes and goes; of one name the largest counts.
    package mutating func pass(_ name: String, _ bytes: Int) {
        guard bytes > 0 else { return }
        if let at = passing.firstIndex(where: { $0.name == name }) {
            passing[at] = Item(name: name, bytes: max(passing[at].bytes, bytes))
        } else {
            passing.append(Item(name: name, bytes: bytes))
        }
    }

    /// What the process holds before and beside models and data sets.
    static let process = "process and data"

    /// Of the peak, what is not the process itself.
    package var tensors: Int {
        peak - (lasting.first { $0.name == MemoryPlan.process }?.bytes ?? 0)
    }

    /// The most there is at once.
    package var peak: Int {
        lasting.reduce(0) { $0 + $1.bytes } + (passing.map(\.bytes).max() ?? 0)
    }

    /// `{"peak_bytes": ..., "items": {...}, "passing": {...}, ...}`.
    package var json: JSONObject {
        func object(_ items: [Item]) -> JSON {
            .object(JSONObject(pairs: items.map { ($0.name, JSON($0.bytes)) }))
        }
        var json: JSONObject = [
            "peak_bytes": JSON(peak), "lasting": object(lasting), "passing": object(passing),
        ]
        if let longest {
            json.append("longest_micro_batch_tokens", JSON(longest.tokens))
            json.append("longest_micro_batch_step", JSON(longest.step))
        }
        return json
    }

    /// One line: the peak, and what it is made of.
    package var line: String {
        let largest = passing.max { $0.bytes < $1.bytes }
        let items = lasting + (largest.map { [$0] } ?? [])
        let parts = items.map { "\($0.name) \(MemoryPlan.text($0.bytes))" }
        return "memory: \(MemoryPlan.text(peak)) at most: " + parts.joined(separator: ", ")
    }

    /// "1.5 GiB", "37 MiB".
    package static func text(_ bytes: Int) -> String {
        bytes >= 1 << 30
            ? "\((Double(bytes) / 0x1p30).text(digits: 3)) GiB" : "\((bytes + 1 << 19) >> 20) MiB"
    }

    /// Refuses a plan that does not fit.
    ///
    /// - Parameters:
    ///   - limit: what there is, and whose limit it is.
    ///   - at: the key of the config that memory follows.
    ///   - changes: other configs, by what to change, in the order in which to try them.
    /// - Throws: `KeelError` (config).
    package func check(
        limit: (bytes: Int, name: String), at: String?, changes: [(String, () throws -> MemoryPlan)]
    ) throws {
        guard peak > limit.bytes else { return }
        var fixes: [String] = []
        for (change, plan) in changes {
            let plan = try plan()
            if plan.peak < peak {
                let note = plan.peak > limit.bytes ? ", still too much" : ""
                fixes.append("\(change) (\(MemoryPlan.text(plan.peak))\(note))")
            }
        }
        throw KeelError(
            "memory",
            "the run needs \(MemoryPlan.text(peak)), \(limit.name) \(MemoryPlan.text(limit.bytes))",
            at: at,
            fix: (fixes.isEmpty ? "use a smaller model" : fixes.joined(separator: "\n       or "))
                + "\n       (\(line))", code: .config)
    }
}

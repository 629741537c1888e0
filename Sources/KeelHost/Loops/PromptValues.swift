import KeelBridge
import KeelCore
import KeelData

/// Where the values of prompts come from, for objectives that read `seq_values`.
enum PromptValues {
    /// Nothing reads them, or a linear head gives them.
    case none
    /// The data's own `seq_values`.
    case given
    /// The mean reward of a prompt's rows.
    case promptMean
    /// A head, fitted to rewards of the reference's responses to the validation prompts.
    case rollouts
    /// A head, fitted to rewards of the rows.
    case data

    /// What config and data settle.
    ///
    /// - Throws: `KeelError` (config) when what they ask for cannot be had.
    init(
        _ config: RunConfig, _ component: Component, _ plan: HeadPlan, _ planned: [PlannedPhase],
        _ data: [String: RunData]
    ) throws {
        guard let head = plan.valueHead, head != .linear, let last = planned.last,
            let rows = data[last.dataKind], component.phases.contains(where: HeadPlan.fitsPrompts)
        else {
            self = .none
            return
        }
        let isGiven = rows.train.tokens.rows.indexes.allSatisfy {
            rows.train.values[$0].seqValue != nil
        }
        let source = config.valueHead.source
        switch source {
        case .promptMean: self = .promptMean
        case nil where isGiven: self = .given
        case .rollouts: self = .rollouts
        case .data: self = .data
        case nil:
            self = !config.rewards.isEmpty && config.data.valid != nil ? .rollouts : .data
        }
        guard self == .rollouts || self == .data else { return }
        func refuse(_ what: String, _ key: String, _ fix: String) -> KeelError {
            KeelError("config", what, at: config.places.place(of: key), fix: fix, code: .config)
        }
        guard planned.contains(where: plan.fitsPrompts) else {
            throw refuse(
                "no phase fits the value head, and the rows have no \"seq_values\"",
                "objective.params",
                "give the phase a length, add \"seq_values\" to every row, or set value_head.source to \"prompt_mean\""
            )
        }
        guard self == .rollouts else { return }
        if config.data.valid == nil {
            throw refuse(
                "value_head.source \"rollouts\" needs the prompts of data.valid",
                "value_head.source",
                "name a file in data.valid")
        }
        if config.rewards.isEmpty {
            throw refuse(
                "value_head.source \"rollouts\" needs rewards for the reference's responses",
                "value_head.source",
                "name plugins in \"rewards\", or set value_head.source to \"data\"")
        }
    }

    /// Whether a head gives them.
    var hasHead: Bool { self == .rollouts || self == .data }

    /// Readies the rows before anything checks them: a head's values stand in nobody's way, means get a place.
    func claim(_ data: inout [String: RunData]) {
        guard self != .none, self != .given else { return }
        for kind in data.keys {
            data[kind]?.setValues { _, _ in self == .promptMean ? .nan : nil }
        }
    }

    /// Once the rows have their rewards: the mean reward of each prompt's rows, for all of them.
    ///
    /// - Throws: `KeelError` (badData) when every prompt has one row.
    func fill(_ data: inout [String: RunData], at place: String?) throws {
        guard self == .promptMean else { return }
        for kind in data.keys {
            guard let rows = data[kind]?.train.tokens.rows else { continue }
            guard Set(rows.map(\.prompt)).count < rows.count else {
                throw KeelError(
                    "data",
                    "value_head.source \"prompt_mean\" compares the rows of a prompt, and each of the \(rows.count) prompts has one",
                    at: place, fix: "use value_head.source \"data\" or \"rollouts\"",
                    code: .badData)
            }
            data[kind]?.setValues { $0[$1] }
        }
    }
}

extension RunData {
    /// Gives every row the value of its prompt.
    ///
    /// - Parameter value: of the mean rewards of all prompts of a part, and a prompt.
    mutating func setValues(_ value: ([[Int32]: Double], [Int32]) -> Double?) {
        train.setValues(value)
        valid?.setValues(value)
    }
}

extension RunData.Part {
    fileprivate mutating func setValues(_ value: ([[Int32]: Double], [Int32]) -> Double?) {
        var sums: [[Int32]: (sum: Double, count: Int)] = [:]
        for row in tokens.rows {
            let rewards = values[row.index].rewards ?? []
            let known = sums[row.prompt] ?? (0, 0)
            sums[row.prompt] = (known.sum + rewards.reduce(0, +), known.count + rewards.count)
        }
        let means = sums.mapValues { $0.sum / Double(max(1, $0.count)) }
        for row in tokens.rows { values[row.index].seqValue = value(means, row.prompt) }
    }
}

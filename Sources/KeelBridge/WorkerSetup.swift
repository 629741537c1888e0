import CWorker
import KeelCore

/// What a worker is told about the component that it runs.
struct WorkerSetup: Sendable {
    let component: Component
    /// What the run calls it.
    let name: String
    let seed: UInt64
    let parameters: ParameterValues

    var title: String { component.title(as: name) }

    /// The stream of a `setup` request.
    func write(to writer: inout WorkerWriter, context: CallContext) throws {
        try writer.word(Int(component.native == nil ? KW_PLUGIN : KW_NATIVE))
        try writer.text(component.path)
        try writer.text(component.name)
        try writer.word(Int(component.kind.code))
        try writer.text(name)
        try writer.word(seed)
        try writer.parameters(component.parameters, parameters)
        try writer.context(context)
        if let native = component.native {
            try writer.text(native.symbol)
            try writer.text(native.signature.lines)
        }
    }

    /// Loads the component in a fresh process and creates its instance.
    ///
    /// - Returns: the columns that `create` asked for.
    func start(
        _ process: WorkerProcess, context: CallContext, watch: WorkerProcess.Watch
    )
        throws(WorkerFailure) -> [String]
    {
        let reply = try process.ask(Int(KW_SETUP), watch: watch) {
            try write(to: &$0, context: context)
        }
        try check(reply)
        return reply.needs
    }

    /// Turns what a callback returned or recorded into an error.
    func check(_ reply: WorkerReply, extraNeeds: [String] = []) throws(WorkerFailure) {
        if let failure = failure(of: reply, extraNeeds: extraNeeds) {
            throw WorkerFailure(cause: .reported(failure.status, failure.text))
        }
    }

    /// The failure of a reply in the words that the host uses for its own calls; nil = none.
    private func failure(of reply: WorkerReply, extraNeeds: [String]) -> CallFailure? {
        guard let (kind, text) = reply.failure else {
            return reply.status == 0 ? nil : .silent(reply.status)
        }
        switch Int(kind) {
        case Int(KW_UNDECLARED_COLUMN):
            let names = component.needs + component.gives + extraNeeds
            return .undeclaredColumn(
                text, declared: Set(names.map { $0.hasSuffix("?") ? String($0.dropLast()) : $0 }))
        case Int(KW_UNDECLARED_PARAMETER):
            return .undeclaredParameter(text, declared: component.parameters.map(\.name))
        case Int(KW_UNDECLARED_GIVES): return .undeclaredGives(text, gives: component.gives)
        case Int(KW_CANNOT_LOAD): return CallFailure(.unsupported, "cannot be loaded: \(text)")
        case Int(KW_NO_ENTRY), Int(KW_NO_PLUGIN), Int(KW_NO_COMPONENT):
            return CallFailure(.missing, "is no longer in the file")
        default:
            let status = CallStatus(rawValue: reply.status) ?? .internal
            return CallFailure(status, text.isEmpty ? "failed without a text" : text)
        }
    }
}

extension WorkerWriter {
    /// The parameters as `ParameterStore` shows them in process.
    mutating func parameters(_ declared: [Parameter], _ values: ParameterValues) throws {
        try word(declared.count)
        for parameter in declared {
            let json = values[parameter.name] ?? parameter.fallback
            try text(parameter.name)
            var kind = Int(KW_PARAM_NUMBER)
            var number = 0.0
            var string: String?
            var list: [Double] = []
            switch parameter.kind {
            case .number, .integer: number = json.number ?? 0
            case .bool: number = json.bool == true ? 1 : 0
            case .string:
                kind = Int(KW_PARAM_STRING)
                string = json.string ?? ""
            case .choice:
                kind = Int(KW_PARAM_CHOICE)
                string = json.string ?? ""
                number = Double(parameter.choices.firstIndex(of: json.string ?? "") ?? 0)
            case .numbers:
                kind = Int(KW_PARAM_LIST)
                list = (json.array ?? []).compactMap(\.number)
            case .json: kind = Int(KW_PARAM_JSON)
            }
            try word(kind)
            try self.number(number)
            try text(string.map { Array($0.utf8) })
            try word(list.count)
            try self.list(list)
            try text(json)
        }
    }

    mutating func context(_ context: CallContext) throws {
        try word(context.step)
        try number(context.epoch)
        try text(context.phase)
        try word(context.facts.count)
        for (name, value) in context.facts {
            try text(name)
            try number(value)
        }
    }

    /// Completions to be scored, as `ColumnBatch(rewarding:)` shows them in process.
    mutating func batch(rewarding rows: [RewardRow]) throws {
        try rows.withUnsafeBufferPointer { try batch(in: $0) }
    }

    /// Reads one field of a row at a time: a copy of a row would retain all of them.
    private mutating func batch(in rows: UnsafeBufferPointer<RewardRow>) throws {
        let base = place
        let all = rows.indices
        try word(rows.count)
        try word(1)
        for row in all { try word(rows[row].id) }
        let hasReply = all.contains { rows[$0].reply != nil }
        try word(hasReply ? 4 : 3)
        try text("prompt")
        for row in all { try text(rows[row].prompt) }
        try text("response")
        for row in all { try text(rows[row].response) }
        try text("row")
        for row in all { try text(rows[row].row) }
        if hasReply {
            try text("reply")
            for row in all { try text(rows[row].reply) }
        }
        try word(2)
        for row in all {
            let (prompt, response) = (rows[row].promptTokens, rows[row].tokens)
            try word(prompt.count)
            try word(prompt.count + response.count)
            try prompt.withUnsafeBytes { try bytes($0) }
            try list(response)
        }
        let hasModel = all.contains { rows[$0].modelScore != nil }
        try word(hasModel ? 4 : 3)
        try column("group", shape: [rows.count], base: base, all.map { rows[$0].group })
        try column(
            "length", shape: [rows.count], base: base, all.map { Int32(rows[$0].tokens.count) })
        try column(
            "finished", shape: [rows.count], base: base, all.map { rows[$0].isFinished ? 1.0 : 0 })
        if hasModel {
            try column(
                "model_scores", shape: [rows.count], base: base,
                all.map { rows[$0].modelScore ?? .nan })
        }
        try word(0)
        try word(0)
    }

    /// A column of a batch that begins at `base`.
    mutating func column(_ name: String, shape: [Int], base: Int, _ cells: [Int32]) throws {
        try head(name, code: 0, bits: 32, shape: shape, base: base)
        try list(cells)
    }

    mutating func column(_ name: String, shape: [Int], base: Int, _ cells: [Double]) throws {
        try head(name, code: 2, bits: 64, shape: shape, base: base)
        try list(cells)
    }

    private mutating func head(
        _ name: String, code: Int, bits: Int, shape: [Int], base: Int
    ) throws {
        try text(name)
        try word(code)
        try word(bits)
        try word(shape.count)
        for length in shape { try word(length) }
        try pad(64, from: base)
    }
}

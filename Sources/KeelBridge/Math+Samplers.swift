import CKeel
import KeelCore

extension Math {
    /// What token samplers do to logits.
    static let samplerFunctions: [String: Function] = ["warp_logits": warpLogits]

    /// One row of logits on its way through the filters.
    private struct Row {
        var logits: [Double]
        let context: [Int32]
        var order: [Int32]
        var p: [Double]
    }

    private static func warpLogits(_ q: Request) throws -> JSONObject {
        let logits = try q.array("logits", rank: 2)
        let (rows, vocabulary) = (logits.shape[0], logits.shape[1])
        let contexts = q.object["context"]?.array ?? []
        var state = try (0..<rows).map { row in
            Row(
                logits: Array(logits.values[row * vocabulary..<(row + 1) * vocabulary]),
                context: row < contexts.count
                    ? try Arrays.cells(contexts[row], name: "context").values.map { Int32($0) }
                    : [],
                order: [Int32](repeating: 0, count: vocabulary),
                p: [Double](repeating: 0, count: 2 * vocabulary))
        }
        var stages = JSONObject()
        func stage(_ name: String, _ filter: (inout Row, Double) throws -> Void) throws {
            guard q.has(name) else { return }
            let value = try q.number(name)
            for row in state.indices { try filter(&state[row], value) }
            stages.append(name, q.answer(logits.shape, state.flatMap(\.logits)))
        }
        try stage("repetition_penalty") {
            keel_math_repetition_penalty(
                &$0.logits, vocabulary, $0.context, $0.context.count, $1, &$0.order)
        }
        try stage("no_repeat_ngram_size") {
            keel_math_no_repeat_ngram(
                &$0.logits, vocabulary, $0.context, $0.context.count, try q.count($1))
        }
        try stage("min_new_tokens") {
            let prompt = try q.count(try q.number("prompt_length", 0))
            let eos = try q.number("eos_token_id")
            keel_math_min_new_tokens(
                &$0.logits, vocabulary, max(0, $0.context.count - prompt), try q.count($1),
                Int64(eos))
        }
        try stage("temperature") {
            guard $1 > 0 else { throw q.fail("\"temperature\" must be positive") }
            keel_math_temperature(&$0.logits, vocabulary, $1)
        }
        try stage("top_k") { keel_math_top_k(&$0.logits, vocabulary, try q.count($1), &$0.order) }
        try stage("top_p") { keel_math_top_p(&$0.logits, vocabulary, $1, &$0.order, &$0.p) }
        try stage("min_p") { keel_math_min_p(&$0.logits, vocabulary, $1, &$0.p) }
        try stage("typical_p") { keel_math_typical_p(&$0.logits, vocabulary, $1, &$0.order, &$0.p) }
        try stage("epsilon_cutoff") { keel_math_epsilon_cutoff(&$0.logits, vocabulary, $1, &$0.p) }
        try stage("eta_cutoff") { keel_math_eta_cutoff(&$0.logits, vocabulary, $1, &$0.p) }
        var probabilities: [Double] = []
        for row in state.indices {
            var p = [Double](repeating: 0, count: vocabulary)
            _ = keel_math_softmax(&p, state[row].logits, vocabulary)
            probabilities += p
        }
        return ["stages": .object(stages), "probabilities": q.answer(logits.shape, probabilities)]
    }
}

extension Math.Request {
    /// A count given as a number.
    func count(_ value: Double) throws -> Int {
        guard let whole = Int(exactly: value), whole >= 0 else {
            throw fail("\(value) is no count")
        }
        return whole
    }
}

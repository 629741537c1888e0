// The memory of logits that the host lends.
import CKeel

/// The logits of one sequence's next token, in f64, with the filters that `keel math warp_logits` shows.
///
/// Token ids are indices. -inf excludes a token; each filter works on what the earlier ones left.
public final class Logits {
    private var cells: [Double] = []
    private var order: [Int32] = []
    private var scratch: [Double] = []
    private var isChanged = false
    /// The call it belongs to.
    public private(set) var call: Call
    /// The row of the call.
    public private(set) var row = 0
    /// The token ids so far, prompt first.
    public lazy var context: [Int32] = tokens.ids
    /// How many of them belong to the prompt.
    public var promptLength: Int { tokens.prompt }
    private lazy var tokens = call.tokens(row)

    init(_ call: Call) { self.call = call }

    /// The size of the vocabulary.
    public var count: Int { cells.count }
    /// The logit of a token.
    public subscript(token: Int) -> Double {
        get { cells[token] }
        set { cells[token] = newValue; isChanged = true }
    }
    /// The likeliest token; the smallest id among equals.
    public var argmax: Int {
        cells.indices.reduce(0) { cells[$1] > cells[$0] ? $1 : $0 }
    }

    /// Each distinct token of the context once: l < 0 ? l · penalty : l / penalty.
    public func penalizeRepetition(_ penalty: Double) {
        edit {
            keel_math_repetition_penalty(&cells, count, context, context.count, penalty, &order)
        }
    }
    /// Excludes tokens that would complete an n-gram that is already in the context.
    public func banRepeatedNGrams(_ size: Int) {
        edit { keel_math_no_repeat_ngram(&cells, count, context, context.count, size) }
    }
    /// Keeps the k likeliest; ties at the threshold stay.
    public func keepTop(_ k: Int) { edit { keel_math_top_k(&cells, count, k, &order) } }
    /// Keeps the fewest tokens whose mass reaches p.
    public func keepNucleus(_ p: Double) {
        edit { keel_math_top_p(&cells, count, p, &order, &scratch) }
    }
    /// Excludes tokens less likely than p times the likeliest.
    public func dropBelowShare(_ p: Double) { edit { keel_math_min_p(&cells, count, p, &scratch) } }
    /// Keeps the tokens whose surprise is nearest the entropy, until their mass is reached.
    public func keepTypical(_ mass: Double) {
        edit { keel_math_typical_p(&cells, count, mass, &order, &scratch) }
    }
    /// Excludes tokens of a probability below epsilon.
    public func dropBelow(_ epsilon: Double) {
        edit { keel_math_epsilon_cutoff(&cells, count, epsilon, &scratch) }
    }
    /// Excludes tokens below min(epsilon, sqrt(epsilon) · e^-entropy).
    public func dropBelowEta(_ epsilon: Double) {
        edit { keel_math_eta_cutoff(&cells, count, epsilon, &scratch) }
    }

    private func edit(_ body: () -> Void) {
        body()
        isChanged = true
    }

    /// Takes the next row; one object serves all rows of an instance.
    func load(_ call: Call, _ row: Int, _ logits: UnsafeBufferPointer<Float>) {
        (self.call, self.row, isChanged) = (call, row, false)
        if cells.count != logits.count {
            cells = [Double](repeating: 0, count: logits.count)
            order = [Int32](repeating: 0, count: logits.count)
            scratch = [Double](repeating: 0, count: 2 * logits.count)
        }
        for index in cells.indices { cells[index] = Double(logits[index]) }
        tokens = call.tokens(row)
        context = tokens.ids
    }
    func store(_ logits: UnsafeMutableBufferPointer<Float>) {
        guard isChanged else { return }
        for index in cells.indices { logits[index] = Float(cells[index]) }
    }
}

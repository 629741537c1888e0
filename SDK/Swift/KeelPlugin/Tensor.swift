import CKeel

/// A tensor of the current call: a handle to a recorded operation, valid until the callback returns.
///
/// An operation that fails marks its result; the host reports operation, shapes and plugin when `loss`
/// returns. So formulas carry no `try`. Shapes broadcast by numpy's rules.
public struct Tensor {
    let id: keel_t
    let call: Call

    /// The lengths of the axes, or nil when an operation before failed.
    public var shape: [Int]? { call.shape(of: self) }

    /// The cells, computed now: plain numbers without a gradient.
    ///
    /// - Throws: `PluginError` when an operation before failed.
    public func values() throws -> Column { try call.read(self) }

    /// Records one operation on tensors of the same call.
    func op(_ code: Int, _ others: [Tensor] = [], _ constants: [Double] = []) -> Tensor {
        call.op(code, [self] + others, constants)
    }
}

extension Tensor {
    // MARK: Arithmetic

    /// a + b.
    public static func + (a: Tensor, b: Tensor) -> Tensor { a.op(KEEL_OP_ADD, [b]) }
    /// a - b.
    public static func - (a: Tensor, b: Tensor) -> Tensor { a.op(KEEL_OP_SUB, [b]) }
    /// a · b.
    public static func * (a: Tensor, b: Tensor) -> Tensor { a.op(KEEL_OP_MUL, [b]) }
    /// a / b.
    public static func / (a: Tensor, b: Tensor) -> Tensor { a.op(KEEL_OP_DIV, [b]) }
    /// -x.
    public static prefix func - (x: Tensor) -> Tensor { x.op(KEEL_OP_NEG) }
    /// x + k.
    public static func + (x: Tensor, k: Double) -> Tensor { x.op(KEEL_OP_OFFSET, [], [k]) }
    /// k + x.
    public static func + (k: Double, x: Tensor) -> Tensor { x.op(KEEL_OP_OFFSET, [], [k]) }
    /// x - k.
    public static func - (x: Tensor, k: Double) -> Tensor { x.op(KEEL_OP_OFFSET, [], [-k]) }
    /// k - x.
    public static func - (k: Double, x: Tensor) -> Tensor { (-x).op(KEEL_OP_OFFSET, [], [k]) }
    /// x · k.
    public static func * (x: Tensor, k: Double) -> Tensor { x.op(KEEL_OP_SCALE, [], [k]) }
    /// k · x.
    public static func * (k: Double, x: Tensor) -> Tensor { x.op(KEEL_OP_SCALE, [], [k]) }
    /// x / k.
    public static func / (x: Tensor, k: Double) -> Tensor { x.op(KEEL_OP_SCALE, [], [1 / k]) }
    /// k / x.
    public static func / (k: Double, x: Tensor) -> Tensor { k * x.reciprocal() }

    // MARK: Comparisons: 1 where true, else 0; without gradient

    /// x > k.
    public static func > (x: Tensor, k: Double) -> Tensor { x.op(KEEL_OP_GT, [], [k]) }
    /// x ≥ k.
    public static func >= (x: Tensor, k: Double) -> Tensor { x.op(KEEL_OP_GE, [], [k]) }
    /// x < k.
    public static func < (x: Tensor, k: Double) -> Tensor { x.op(KEEL_OP_LT, [], [k]) }
    /// x ≤ k.
    public static func <= (x: Tensor, k: Double) -> Tensor { x.op(KEEL_OP_LE, [], [k]) }
    /// a > b.
    public static func > (a: Tensor, b: Tensor) -> Tensor { (a - b) > 0 }
    /// a < b.
    public static func < (a: Tensor, b: Tensor) -> Tensor { (a - b) < 0 }
    /// x = k, cell by cell.
    public func equals(_ k: Double) -> Tensor { op(KEEL_OP_EQ, [], [k]) }

    // MARK: Elementwise

    /// e^x.
    public func exp() -> Tensor { op(KEEL_OP_EXP) }
    /// The natural logarithm.
    public func log() -> Tensor { op(KEEL_OP_LOG) }
    /// log(1 + x), accurate near 0.
    public func log1p() -> Tensor { op(KEEL_OP_LOG1P) }
    /// e^x - 1, accurate near 0.
    public func expm1() -> Tensor { op(KEEL_OP_EXPM1) }
    /// log(1 - e^x) for x < 0, without cancellation.
    public func log1mexp() -> Tensor { op(KEEL_OP_LOG1MEXP) }
    /// The square root.
    public func squareRoot() -> Tensor { op(KEEL_OP_SQRT) }
    /// x².
    public func square() -> Tensor { op(KEEL_OP_SQUARE) }
    /// |x|.
    public func abs() -> Tensor { op(KEEL_OP_ABS) }
    /// 1 / (1 + e^-x).
    public func sigmoid() -> Tensor { op(KEEL_OP_SIGMOID) }
    /// log(1 / (1 + e^-x)), without overflow.
    public func logSigmoid() -> Tensor { op(KEEL_OP_LOG_SIGMOID) }
    /// log(1 + e^x), without overflow.
    public func softplus() -> Tensor { op(KEEL_OP_SOFTPLUS) }
    /// The hyperbolic tangent.
    public func tanh() -> Tensor { op(KEEL_OP_TANH) }
    /// max(x, 0).
    public func relu() -> Tensor { op(KEEL_OP_RELU) }
    /// 1 / x.
    public func reciprocal() -> Tensor { op(KEEL_OP_RECIPROCAL) }
    /// x^y.
    public func pow(_ y: Tensor) -> Tensor { op(KEEL_OP_POW, [y]) }
    /// min(max(x, low), high), without gradient outside; a bound may be infinite.
    public func clamped(_ low: Double, _ high: Double) -> Tensor {
        op(KEEL_OP_CLAMP, [], [low, high])
    }

    // MARK: Reductions. Without an axis over all cells; cells where the mask is 0 are left out

    /// The sum; 0 of no cells.
    public func sum(axis: Int? = nil, mask: Tensor? = nil, keepDims: Bool = false) -> Tensor {
        reduce(KEEL_OP_SUM, axis, mask, keepDims)
    }
    /// The mean; 0 of no cells.
    public func mean(axis: Int? = nil, mask: Tensor? = nil, keepDims: Bool = false) -> Tensor {
        reduce(KEEL_OP_MEAN, axis, mask, keepDims)
    }
    /// The largest cell; -inf of none.
    public func max(axis: Int? = nil, mask: Tensor? = nil, keepDims: Bool = false) -> Tensor {
        reduce(KEEL_OP_AMAX, axis, mask, keepDims)
    }
    /// The smallest cell; inf of none.
    public func min(axis: Int? = nil, mask: Tensor? = nil, keepDims: Bool = false) -> Tensor {
        reduce(KEEL_OP_AMIN, axis, mask, keepDims)
    }
    /// log Σ e^x, without overflow; -inf of none.
    public func logSumExp(axis: Int? = nil, mask: Tensor? = nil, keepDims: Bool = false) -> Tensor {
        reduce(KEEL_OP_LOGSUMEXP, axis, mask, keepDims)
    }

    private func reduce(_ code: Int, _ axis: Int?, _ mask: Tensor?, _ keepDims: Bool) -> Tensor {
        let constants: [Double] = axis.map { keepDims ? [Double($0), 1] : [Double($0)] } ?? []
        return op(code, mask.map { [$0] } ?? [], constants)
    }

    // MARK: Along an axis

    /// e^x / Σ e^x.
    public func softmax(axis: Int = -1) -> Tensor { op(KEEL_OP_SOFTMAX, [], [Double(axis)]) }
    /// x - log Σ e^x.
    public func logSoftmax(axis: Int = -1) -> Tensor { op(KEEL_OP_LOG_SOFTMAX, [], [Double(axis)]) }
    /// The running sum, this cell included; `reversed` from the end.
    public func cumulativeSum(axis: Int = -1, reversed: Bool = false) -> Tensor {
        op(KEEL_OP_CUMSUM, [], [Double(axis), reversed ? 1 : 0])
    }
    /// The cells in ascending order; the gradient follows them.
    public func sorted(axis: Int = -1, descending: Bool = false) -> Tensor {
        op(KEEL_OP_SORT, [], [Double(axis), descending ? 1 : 0])
    }

    // MARK: Shape

    /// The same cells in another shape; one length may be -1.
    public func reshaped(_ shape: [Int]) -> Tensor {
        op(KEEL_OP_RESHAPE, [], shape.map(Double.init))
    }
    /// `[batch]` as `[batch, 1]`, to meet `[batch, time]`.
    public func asColumn() -> Tensor { reshaped([-1, 1]) }
    /// The part `start ..< stop` of an axis, with Python's meaning of negative bounds.
    public func slice(axis: Int, _ start: Int, _ stop: Int) -> Tensor {
        op(KEEL_OP_SLICE, [], [Double(axis), Double(start), Double(stop)])
    }
    /// Several tensors behind each other.
    public func concatenated(with others: [Tensor], axis: Int = 0) -> Tensor {
        op(KEEL_OP_CONCAT, others, [Double(axis)])
    }
    /// The slices of an axis at the given indices, in their order.
    public func rows(_ indices: Tensor, axis: Int = 0) -> Tensor {
        op(KEEL_OP_INDEX, [indices], [Double(axis)])
    }
    /// out[..., j] = x[..., indices[..., j]] along the last axis.
    public func gathered(_ indices: Tensor) -> Tensor { op(KEEL_OP_GATHER, [indices]) }
    /// Repeated to a shape by numpy's rules; -1 keeps a length.
    public func broadcast(_ shape: [Int]) -> Tensor {
        op(KEEL_OP_BROADCAST, [], shape.map(Double.init))
    }
    /// The last two axes swapped; or the axes in the given order.
    public func transposed(_ order: [Int] = []) -> Tensor {
        op(KEEL_OP_TRANSPOSE, [], order.map(Double.init))
    }

    // MARK: Control

    /// The same values as a constant.
    public func detached() -> Tensor { op(KEEL_OP_DETACH) }
    /// Rounded towards 0 to whole numbers, a constant; for indices.
    public func truncated() -> Tensor { op(KEEL_OP_CAST, [], [Double(KEEL_INT), 32]) }
    /// (x - mean) / sqrt(var + eps), a constant; mean and var are those of the cells under the mask.
    ///
    /// Fewer than two such cells: x. Without `shift` the mean is added back; `unbiased` divides by n - 1.
    public func whitened(
        mask: Tensor? = nil, eps: Double = 1e-8, shift: Bool = true, unbiased: Bool = false
    ) -> Tensor {
        op(KEEL_OP_WHITEN, mask.map { [$0] } ?? [], [eps, shift ? 0 : 1, unbiased ? 1 : 0])
    }
}

// MARK: Free functions, for formulas that read like the paper's

/// e^x.
public func exp(_ x: Tensor) -> Tensor { x.exp() }
/// The natural logarithm.
public func log(_ x: Tensor) -> Tensor { x.log() }
/// |x|.
public func abs(_ x: Tensor) -> Tensor { x.abs() }
/// 1 / (1 + e^-x).
public func sigmoid(_ x: Tensor) -> Tensor { x.sigmoid() }
/// log(1 / (1 + e^-x)), without overflow.
public func logSigmoid(_ x: Tensor) -> Tensor { x.logSigmoid() }
/// log(1 + e^x), without overflow.
public func softplus(_ x: Tensor) -> Tensor { x.softplus() }
/// max(x, 0).
public func relu(_ x: Tensor) -> Tensor { x.relu() }
/// The smaller of the two, cell by cell; equal cells share the gradient.
public func min(_ a: Tensor, _ b: Tensor) -> Tensor { a.op(KEEL_OP_MIN, [b]) }
/// The larger of the two, cell by cell; equal cells share the gradient.
public func max(_ a: Tensor, _ b: Tensor) -> Tensor { a.op(KEEL_OP_MAX, [b]) }
/// `a` where the condition is not 0, else `b`; the side not taken gets no gradient, even when it is NaN.
public func select(_ condition: Tensor, _ a: Tensor, _ b: Tensor) -> Tensor {
    condition.op(KEEL_OP_WHERE, [a, b])
}

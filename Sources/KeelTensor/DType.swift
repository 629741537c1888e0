/// What one cell of a tensor is stored as.
package enum DType: String, Sendable, Hashable {
    case f32, f64, bf16, i32

    /// Bytes of one cell.
    package var size: Int {
        switch self {
        case .f64: 8
        case .f32, .i32: 4
        case .bf16: 2
        }
    }

    /// True for the three floating point types.
    package var isFloat: Bool { self != .i32 }

    /// The type statistics, sums and weight gradients of this type are kept in: f64 for f64, else f32.
    package var accumulator: DType { self == .f64 ? .f64 : .f32 }
}

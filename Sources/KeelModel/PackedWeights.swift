import KeelTensor

/// The weights of a model laid out for products: what reads each of them many times keeps them so.
///
/// They are those of the moment in which each is first met, so they serve a generation and are let go before the
/// weights move.
final class PackedWeights {
    private var known: [String: PackedMatrix?] = [:]

    /// - Parameters:
    ///   - transposed: the weight is `[out, in]`.
    ///   - weight: its tensor.
    /// - Returns: nil where nothing is gained by it.
    func matrix(_ name: String, transposed: Bool, _ weight: () -> Tensor) -> PackedMatrix? {
        if let found = known[name] { return found }
        let made = PackedMatrix.make(weight(), transposed: transposed)
        known[name] = .some(made)
        return made
    }
}

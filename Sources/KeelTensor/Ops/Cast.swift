extension Tensor {
    /// The values rounded to another type; to i32 they are truncated.
    ///
    /// Float casts are differentiable.
    package func cast(_ dtype: DType) -> Tensor {
        if dtype == self.dtype { return self }
        let from = self.dtype
        let y = Memory.converted(detach(), dtype)
        guard dtype.isFloat, from.isFloat else { return y }
        return Tape.record([self], y) { g in g.add(0, Memory.converted(g.dy, from)) }
    }
}

//! What is asked on a wire beside its polls, by hand: nobody is blamed for what comes of it, and nobody waits longer for the wire
//! afterwards.

use super::{Attempt, Health, PARTING, Reason, Reply, Wire};

impl Wire {
    /// As [`Wire::ask`], beside what is always asked, of whatever unit: at once, also where it waits to be opened again, and who is
    /// silent then makes nobody else wait. What a failure cost is made good here, and not by who asks next.
    pub(crate) async fn ask_beside(
        &mut self,
        attempt: Attempt<'_>,
        health: &mut Health,
    ) -> Result<Reply, Reason> {
        self.connect_beside().await?;
        let result = self.ask_and_blame(attempt, health, None).await;
        if !self.link.is_open() && !matches!(result, Err(Reason::ConnectFailed)) {
            tokio::time::sleep(PARTING).await;
            let opened = self.connect_beside().await;
            tracing::trace!(?opened, connection = %self.name, "for who asks next");
        }
        result
    }

    /// Opens it, where it is not, for who asks beside: when it is opened again for others is as it was.
    pub(crate) async fn connect_beside(&mut self) -> Result<(), Reason> {
        if self.link.is_open() {
            return Ok(());
        }
        self.open().await
    }
}

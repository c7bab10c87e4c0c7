//! What the instrument is told to do, and what becomes of it.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use super::super::command::Command;
use super::super::line::Line;
use super::super::options::{CommandOptions, Mode};
use super::{Audience, Instrument, SEND_LIMIT};
use crate::adapter::command::CommandError;
use crate::adapter::reason::Reason;
use crate::clock;

impl<A: Audience> Instrument<A> {
    /// Commands act on the world as it was when they were given.
    pub(super) fn refuse_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.answer(command, Err(CommandError::Offline));
        }
    }

    fn answer(&self, command: Command, result: Result<(), CommandError>) {
        if command.answer.send(result).is_err() {
            tracing::debug!(device = %self.options.name, command = command.name, "nobody waits for what became of it");
        }
    }

    pub(super) async fn command<P: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        line: &mut Line<P>,
        command: Command,
    ) -> io::Result<()> {
        let mut known = self.options.dialect.commands.iter();
        let options = known.find(|known| known.name == command.name).cloned();
        let result = match options {
            _ if command.answer.is_closed() || self.health.is_offline() => {
                Err(CommandError::Offline)
            }
            _ if command.until <= clock::now() => Err(CommandError::Expired),
            Some(options) => match self.carry_out(line, &options).await {
                Ok(result) => result,
                // It may have got there before the port was gone.
                Err(error) => {
                    let lost = CommandError::Failed(Reason::ConnectionClosed);
                    self.answer(command, Err(lost));
                    return Err(error);
                }
            },
            None => Err(CommandError::Unknown),
        };
        self.answer(command, result);
        Ok(())
    }

    /// Sends a command. What an instrument says meanwhile of its own accord is a reading as always.
    async fn carry_out<P: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        line: &mut Line<P>,
        options: &CommandOptions,
    ) -> io::Result<Result<(), CommandError>> {
        match self.options.dialect.mode {
            Mode::Poll { timeout, .. } => self.settle(line, timeout).await?,
            // What has come already is no answer.
            Mode::Listen { .. } => {
                for said in line.frames_so_far().await? {
                    self.overheard(&said);
                }
            }
        }
        line.send(&options.send, SEND_LIMIT).await?;
        let Some(expect) = &options.expect else {
            return Ok(Ok(()));
        };
        let until = clock::now() + options.timeout;
        let mut other = false;
        while let Some(said) = line.frame(until).await? {
            if expect.finds(&said.payload) {
                return Ok(Ok(()));
            }
            other = true;
            self.overheard(&said);
        }
        self.unanswered = true;
        let listening = matches!(self.options.dialect.mode, Mode::Listen { .. });
        Ok(Err(if other && !listening {
            CommandError::UnexpectedReply
        } else {
            CommandError::Failed(Reason::Timeout)
        }))
    }
}
